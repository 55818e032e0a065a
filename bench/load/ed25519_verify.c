/* What libcrypto alone takes to check an Ed25519 signature over a token's bytes: the floor under an upgrade with EdDSA.
 *
 * ed25519_verify [-n TIMES]   One JSON line: CPU microseconds of one EVP_DigestVerify in a context that was prepared before.
 */
#include "common.h"
#include <openssl/evp.h>

static double cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int count, char **words) {
    int times = 3000, good = 0, option;
    while ((option = getopt(count, words, "n:")) != -1) {
        if (option == 'n') times = atoi(optarg);
        else give_up("usage: ed25519_verify [-n TIMES]");
    }
    unsigned char token[250] = {1}, signature[64];
    size_t size = sizeof signature;
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, NULL);
    EVP_MD_CTX *signer = EVP_MD_CTX_new(), *verifier = EVP_MD_CTX_new();
    if (EVP_PKEY_keygen_init(maker) != 1 || EVP_PKEY_keygen(maker, &key) != 1) give_up("no key");
    if (EVP_DigestSignInit(signer, NULL, NULL, NULL, key) != 1) give_up("no signer");
    if (EVP_DigestSign(signer, signature, &size, token, sizeof token) != 1) give_up("no signature");
    if (EVP_DigestVerifyInit(verifier, NULL, NULL, NULL, key) != 1) give_up("no verifier");
    double began = cpu_us();
    for (int i = 0; i < times; i++) good += EVP_DigestVerify(verifier, signature, size, token, sizeof token) == 1;
    double took = cpu_us() - began;
    if (good != times) give_up("%d of %d signatures were good", good, times);
    printf("{\"us\":%.3f}\n", took / times);
    return 0;
}
