/* Receipts against what viem and @noble/curves make of the same key and values. */
#include "services/payd/receipt.h"

#include "libcommon/eth/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"

static void example(struct quote_domain *domain, struct receipt *receipt)
{
    *domain = (struct quote_domain){.chain_id = 4441};
    *receipt = (struct receipt){.block = 1234567, .confirmed_at = 1800000123};
    assert_int_equal(hex_decode("0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0", domain->contract, 20),
                     0);
    assert_int_equal(
        hex_decode("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", receipt->quote.subscriber, 20), 0);
    assert_int_equal(
        hex_decode("0x5FbDB2315678afecb367f032d93F642f64180aa3", receipt->quote.token, 20), 0);
    memset(receipt->quote.service_id.b, 0x5e, 32);
    memset(receipt->tx_hash.b, 0xab, 32);
    assert_int_equal(
        word_from_hex("0x07a1200100030000006400000005000700000000009896806b715f006b49d200",
                      &receipt->quote.terms),
        0);
    assert_int_equal(word_from_decimal("123456789012345678901234567890", &receipt->amount), 0);
}

static void digest(void **state)
{
    (void)state;
    struct quote_domain domain;
    struct receipt receipt;
    char text[67];
    example(&domain, &receipt);
    struct word made = receipt_digest(&domain, &receipt);
    word_hex(&made, text);
    assert_string_equal(text, "0x92771f4b03d24378b2639e023efb3ac5bf1243488b8465077caadab6c012e251");
}

static void signatures(void **state)
{
    (void)state;
    static const char jws[] =
        "eyJhbGciOiJFUzI1NksiLCJ0eXAiOiJvY3Ryb2ktcmVjZWlwdCtqd3MiLCJraWQiOiIweDcwOTk3OTcw"
        "QzUxODEyZGMzQTAxMEM3ZDAxYjUwZTBkMTdkYzc5QzgiLCJqd2siOnsia3R5IjoiRUMiLCJjcnYiOiJz"
        "ZWNwMjU2azEiLCJ4IjoidWxjMDJQY0pGeGxISG45LTFybmZGdzNIRE1aaHlnWG1pR0FhMllUd2FMQSIs"
        "InkiOiIxbk5SNWZCZ2N3a2ttVE5xc0lPZS1LVWhyOU0wNVRnSElGLWk4STdzZFBRIn19.eyJpc3MiOiJ"
        "laXAxNTU6NDQ0MToweDlmRTQ2NzM2Njc5ZDJEOWE2NUYwOTkyRjIyNzJkRTlmM2M3ZmE2ZTAiLCJzdWI"
        "iOiIweDNDNDRDZERkQjZhOTAwZmEyYjU4NWRkMjk5ZTAzZDEyRkE0MjkzQkMiLCJqdGkiOiIweDc3OWV"
        "jNzczYThiMGUyOTY1YWI0Nzg3ZDNlMDMzZjVlNDI3YTQwMDNhNGUxYTExYjgzODMzOWM0Zjk0ZmRlMmI"
        "iLCJpYXQiOjE4MDAwMDAxMjMsInJlY2VpcHQiOnsicGF5bWVudElkIjoiMHg3NzllYzc3M2E4YjBlMjk"
        "2NWFiNDc4N2QzZTAzM2Y1ZTQyN2E0MDAzYTRlMWExMWI4MzgzMzljNGY5NGZkZTJiIiwic3Vic2NyaWJ"
        "lciI6IjB4M0M0NENkRGRCNmE5MDBmYTJiNTg1ZGQyOTllMDNkMTJGQTQyOTNCQyIsInNlcnZpY2VJZCI"
        "6IjB4NWU1ZTVlNWU1ZTVlNWU1ZTVlNWU1ZTVlNWU1ZTVlNWU1ZTVlNWU1ZTVlNWU1ZTVlNWU1ZTVlNWU"
        "1ZTVlNWU1ZSIsInRva2VuIjoiMHg1RmJEQjIzMTU2NzhhZmVjYjM2N2YwMzJkOTNGNjQyZjY0MTgwYWE"
        "zIiwidGVybXMiOiIweDA3YTEyMDAxMDAwMzAwMDAwMDY0MDAwMDAwMDUwMDA3MDAwMDAwMDAwMDk4OTY"
        "4MDZiNzE1ZjAwNmI0OWQyMDAiLCJhbW91bnQiOiIxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTA"
        "iLCJ0eEhhc2giOiIweGFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJ"
        "hYmFiYWJhYmFiYWJhYmFiYWIiLCJibG9ja051bWJlciI6MTIzNDU2NywiY29uZmlybWVkQXQiOjE4MDA"
        "wMDAxMjN9LCJncmFudCI6eyJzdWJzY3JpcHRpb24iOiJzdWJfNjQxZTVmY2U4OWUxMzUwNGUzOTg2OTh"
        "hNTU2YzU5ZjYiLCJwbGFuIjo3LCJzZXEiOjMsInN0YXJ0IjoxODAwMDAwMDAwLCJleHBpcnkiOjE4MDI"
        "1OTIwMDAsInBhaWQiOiIxMDAwMDAwMCJ9fQ.duPxAO9fpI_0yf2JRTPCGyFJuKKA7GdbiKBf_sb-T4R9"
        "YhMZij6qis2pq6EUPCwMzMG-31DDTkHhzvot59gAkg";
    struct quote_domain domain;
    struct receipt receipt;
    struct sign_key *key;
    struct err err;
    AUTO_JSON json_t *json = NULL;
    example(&domain, &receipt);
    assert_int_equal(sign_key_from_hex(KEY, &key, &err), 0);
    assert_int_equal(receipt_json(&domain, &receipt, key, &json, &err), 0);
    sign_key_free(&key);
    assert_string_equal(json_string_value(json_object_get(json, "signer")),
                        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    assert_string_equal(
        json_string_value(json_object_get(json, "signature")),
        "0x437ce92ad26fec9c6d593bc27f8dc9467135abae1cf3aff5e56ac7b2c848004557983002498f4d"
        "607ec7ce39aedc536704d1c13c7d4e2fd30e47365ecb7ec41d1b");
    assert_string_equal(json_string_value(json_object_get(json, "jws")), jws);
}

static void key_files(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        bool good;
    } cases[] = {{KEY, true},       {KEY "\n", true}, {"", false},
                 {"0x12\n", false}, {KEY "0", false}, {KEY "\n" KEY, false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[] = "/tmp/octroi-receipt-XXXXXX";
        struct sign_key *key = NULL;
        struct err err = {{0}};
        int fd = mkstemp(path);
        assert_int_equal(write(fd, cases[i].text, strlen(cases[i].text)), strlen(cases[i].text));
        close(fd);
        assert_int_equal(receipt_key(path, &key, &err), cases[i].good ? 0 : -1);
        assert_true(cases[i].good || strstr(err.msg, "59c6995e") == NULL);
        sign_key_free(&key);
        unlink(path);
    }
    struct sign_key *none = NULL;
    struct err err;
    assert_int_equal(receipt_key("/nonexistent/key", &none, &err), -1);
    /* The key itself, given where its file was meant. */
    assert_int_equal(receipt_key(KEY, &none, &err), -1);
    assert_null(strstr(err.msg, "59c6995e"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(digest), cmocka_unit_test(signatures),
                                       cmocka_unit_test(key_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
