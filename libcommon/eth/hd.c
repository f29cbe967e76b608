/* BIP-39 and BIP-32 on OpenSSL's PBKDF2 and HMAC and on libsecp256k1's
 * arithmetic. Whatever holds a secret is wiped on every way out. Normalisation
 * (NFKD) is no subject: the list is ASCII, and a passphrase that is not is
 * refused rather than taken for another one. */
#include "libcommon/eth/hd.h"

#include "libcommon/eth/hd_words.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <string.h>

#define WORDS_MAX      24
#define TEXT_MAX       (WORDS_MAX * (HD_WORD_MAX + 1))
#define PASSPHRASE_MAX 256
#define ROUNDS         2048
#define SPACE          " \t\r\n"

struct mnemonic {
    char text[TEXT_MAX + 1]; /* the words with single spaces between them */
    size_t len;
    uint8_t bits[WORDS_MAX * 11 / 8]; /* entropy and checksum */
    size_t words;
};

static void mnemonic_wipe(struct mnemonic *mnemonic)
{
    mem_wipe(mnemonic, sizeof(*mnemonic));
}

static int compare_word(const void *key, const void *entry)
{
    return strcmp(key, entry);
}

/* Its place in the list; -1: it has none. */
static int word_index(const char *text, size_t len)
{
    char word[HD_WORD_MAX + 1] = "";
    if (len > HD_WORD_MAX)
        return -1;
    memcpy(word, text, len);
    const char *found = bsearch(word, hd_words, HD_WORDS, sizeof(hd_words[0]), compare_word);
    mem_wipe(word, sizeof(word));
    return found == NULL ? -1 : (int)((found - hd_words[0]) / (int)sizeof(hd_words[0]));
}

static void add_word(struct mnemonic *mnemonic, unsigned index, const char *text, size_t len)
{
    if (mnemonic->words > 0)
        mnemonic->text[mnemonic->len++] = ' ';
    memcpy(mnemonic->text + mnemonic->len, text, len);
    mnemonic->len += len;
    for (unsigned bit = 0; bit < 11; bit++) {
        size_t at = mnemonic->words * 11 + bit;
        mnemonic->bits[at / 8] |= (uint8_t)((index >> (10 - bit) & 1) << (7 - at % 8));
    }
    mnemonic->words++;
}

static int split(const char *text, struct mnemonic *out, struct err *err)
{
    for (text += strspn(text, SPACE); *text != '\0'; text += strspn(text, SPACE)) {
        size_t len = strcspn(text, SPACE);
        if (out->words == WORDS_MAX)
            return err_set(err, "a mnemonic has at most %d words", WORDS_MAX);
        int index = word_index(text, len);
        if (index < 0)
            return err_set(err, "word %zu of the mnemonic is not in the English list of BIP-39",
                           out->words + 1);
        add_word(out, (unsigned)index, text, len);
        text += len;
    }
    if (out->words < 12 || out->words % 3 != 0)
        return err_set(err, "a mnemonic has 12, 15, 18, 21 or 24 words, not %zu", out->words);
    return 0;
}

/* The last words / 3 bits are the first ones of the hash of those before. */
static bool checksum_right(const struct mnemonic *mnemonic)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    size_t entropy = mnemonic->words * 4 / 3; /* bytes */
    unsigned unused = 8 - (unsigned)(mnemonic->words / 3);
    SHA256(mnemonic->bits, entropy, hash);
    bool right = hash[0] >> unused == mnemonic->bits[entropy] >> unused;
    mem_wipe(hash, sizeof(hash));
    return right;
}

static bool is_ascii(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~')
            return false;
    }
    return true;
}

int hd_seed(const char *mnemonic, const char *passphrase, uint8_t out[HD_SEED], struct err *err)
{
    CLEANUP(mnemonic_wipe) struct mnemonic words = {.len = 0};
    char salt[8 + PASSPHRASE_MAX + 1];
    if (split(mnemonic, &words, err) != 0)
        return -1;
    if (!checksum_right(&words))
        return err_set(err, "the mnemonic's checksum is wrong: a word is not the right one, or the "
                            "order is not");
    if (passphrase == NULL)
        passphrase = "";
    if (strlen(passphrase) > PASSPHRASE_MAX || !is_ascii(passphrase))
        return err_set(err, "a mnemonic's passphrase has at most %d ASCII characters here",
                       PASSPHRASE_MAX);
    int len = snprintf(salt, sizeof(salt), "mnemonic%s", passphrase);
    int done = PKCS5_PBKDF2_HMAC(words.text, (int)words.len, (const uint8_t *)salt, len, ROUNDS,
                                 EVP_sha512(), HD_SEED, out);
    mem_wipe(salt, sizeof(salt));
    return done == 1 ? 0 : err_set(err, "PBKDF2 failed");
}

void hd_node_wipe(struct hd_node *node)
{
    mem_wipe(node, sizeof(*node));
}

static int hmac_sha512(const void *key, size_t key_len, const uint8_t *data, size_t len,
                       uint8_t out[64], struct err *err)
{
    unsigned n = 0;
    if (HMAC(EVP_sha512(), key, (int)key_len, data, len, out, &n) == NULL || n != 64)
        return err_set(err, "HMAC-SHA512 failed");
    return 0;
}

int hd_master(const uint8_t *seed, size_t len, struct hd_node *out, struct err *err)
{
    static const char key[] = "Bitcoin seed";
    if (len < 16 || len > HD_SEED)
        return err_set(err, "a seed has 16 to %d bytes", HD_SEED);
    struct hd_node node;
    uint8_t public[33];
    int result = hmac_sha512(key, sizeof(key) - 1, seed, len, node.key, err);
    if (result == 0 && sign_secret_public(node.key, public) != 0)
        result = err_set(err, "this seed gives no key: take another one");
    if (result == 0)
        *out = node;
    hd_node_wipe(&node);
    return result;
}

/* What is hashed under the parent's chain code: 0 and the secret, or the public point; the index.
 */
static int child_input(const struct hd_node *node, uint32_t index, uint8_t out[37])
{
    out[0] = 0;
    memcpy(out + 1, node->key, 32);
    if ((index & HD_HARDENED) == 0 && sign_secret_public(node->key, out) != 0)
        return -1;
    for (unsigned i = 0; i < 4; i++)
        out[33 + i] = (uint8_t)(index >> (24 - 8 * i));
    return 0;
}

int hd_child(struct hd_node *node, uint32_t index, struct err *err)
{
    uint8_t input[37];
    struct hd_node derived; /* a tweak and the child's chain code, as HMAC gives them */
    int result = child_input(node, index, input);
    if (result == 0)
        result = hmac_sha512(node->key + 32, 32, input, sizeof(input), derived.key, err);
    if (result == 0 && sign_secret_add(node->key, derived.key) != 0)
        result = err_set(err, "the path leads to an index that has no key: take the next one");
    if (result == 0)
        memcpy(node->key + 32, derived.key + 32, 32);
    mem_wipe(input, sizeof(input));
    hd_node_wipe(&derived);
    return result;
}

/* One number of a path, and ' or h behind it. */
static int path_index(const char **text, uint32_t *out)
{
    const char *p = *text;
    uint32_t value = 0;
    if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9'))
        return -1;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint32_t digit = (uint32_t)(*p - '0');
        if (value > (HD_HARDENED - 1 - digit) / 10)
            return -1;
        value = value * 10 + digit;
    }
    if (*p == '\'' || *p == 'h') {
        value |= HD_HARDENED;
        p++;
    }
    *text = p;
    *out = value;
    return 0;
}

int hd_path_parse(const char *text, struct hd_path *out, struct err *err)
{
    struct hd_path path = {.depth = 0};
    const char *p = text;
    if (*p++ != 'm')
        return err_set(err, "a path begins with m, as in m/44'/60'/0'/0/0");
    while (*p == '/') {
        p++;
        if (path.depth == HD_DEPTH_MAX)
            return err_set(err, "a path has at most %d numbers", HD_DEPTH_MAX);
        if (path_index(&p, &path.index[path.depth]) != 0)
            return err_set(err, "number %zu of the path is not one below 2147483648",
                           path.depth + 1);
        path.depth++;
    }
    if (*p != '\0')
        return err_set(err, "after number %zu of the path stands something else than /, ' or h",
                       path.depth);
    *out = path;
    return 0;
}

int hd_key(const char *mnemonic, const char *passphrase, const char *path, struct sign_key **out,
           struct err *err)
{
    AUTO_HD_NODE struct hd_node node = {{0}};
    struct hd_path way;
    uint8_t seed[HD_SEED];
    if (hd_path_parse(path, &way, err) != 0 || hd_seed(mnemonic, passphrase, seed, err) != 0)
        return -1;
    int result = hd_master(seed, sizeof(seed), &node, err);
    mem_wipe(seed, sizeof(seed));
    for (size_t i = 0; result == 0 && i < way.depth; i++)
        result = hd_child(&node, way.index[i], err);
    return result == 0 ? sign_key_from_secret(node.key, out, err) : -1;
}
