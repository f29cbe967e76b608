/* What a Sign-In message must say besides being well formed. */
#include "services/subd/signin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW INT64_C(1790000000)
#define URL "http://localhost:8080"

static struct siwe good(void)
{
    struct siwe message = {.domain = "localhost:8080",
                           .uri = URL,
                           .chain_id = 4441,
                           .issued_at = NOW - 10,
                           .expires_at = NOW + 290,
                           .resources = {"urn:octroi:service:api"},
                           .resource_count = 1};
    return message;
}

static enum problem judge(const struct siwe *message, char *service)
{
    struct err err;
    return signin_judge(message, "localhost:8080", URL, 4441, NOW, service, &err);
}

static void accepted(void **unused)
{
    (void)unused;
    char service[SIGNIN_SERVICE_MAX + 1];
    struct siwe message = good();
    assert_int_equal(judge(&message, service), PROBLEM_NONE);
    assert_string_equal(service, "api");
    snprintf(message.uri, sizeof(message.uri), URL "/");
    snprintf(message.scheme, sizeof(message.scheme), "http");
    assert_int_equal(judge(&message, service), PROBLEM_NONE);
}

static void spoil(struct siwe *message, int how)
{
    switch (how) {
    case 0:
        strcpy(message->domain, "localhost:8081");
        break;
    case 1:
        strcpy(message->uri, "http://localhost:8080/elsewhere");
        break;
    case 2:
        strcpy(message->uri, "https://localhost:8080");
        break;
    case 3:
        message->chain_id = 1;
        break;
    case 4:
        message->issued_at = NOW + 3600;
        break;
    case 5:
        message->not_before = NOW + 3600;
        break;
    case 6:
        message->expires_at = NOW;
        break;
    case 7:
        message->expires_at = 0;
        break;
    case 8:
        strcpy(message->scheme, "https");
        break;
    case 9:
        message->resource_count = 0;
        break;
    case 10:
        message->resource_count = 2;
        strcpy(message->resources[1], "urn:octroi:service:other");
        break;
    case 11:
        strcpy(message->resources[0], "urn:octroi:service:");
        break;
    case 12:
        strcpy(message->resources[0], "urn:octroi:service:A");
        break;
    case 13:
        strcpy(message->resources[0], "urn:other:service:api");
        break;
    case 14:
        strcpy(message->scheme, "ht"); /* how the right one begins */
        break;
    }
}

static void refused(void **unused)
{
    (void)unused;
    for (int how = 0; how <= 14; how++) {
        char service[SIGNIN_SERVICE_MAX + 1];
        struct siwe message = good();
        spoil(&message, how);
        enum problem want =
            how <= 8 || how == 14 ? PROBLEM_INVALID_SIGNATURE : PROBLEM_INVALID_FIELD;
        assert_int_equal(judge(&message, service), want);
    }
}

static void names(void **unused)
{
    (void)unused;
    char longest[SIGNIN_SERVICE_MAX + 2];
    memset(longest, 'a', sizeof(longest));
    longest[SIGNIN_SERVICE_MAX + 1] = '\0';
    assert_false(signin_service_valid(longest));
    longest[SIGNIN_SERVICE_MAX] = '\0';
    assert_true(signin_service_valid(longest));
    assert_false(signin_service_valid(""));
    assert_false(signin_service_valid("a b"));
    assert_false(signin_service_valid("a\n"));
    assert_true(signin_service_valid("api-2.v1_x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
