/* What libsodium alone takes to check an Ed25519 signature over a token's bytes: the floor under an upgrade with EdDSA.
 *
 * ed25519_verify [-n TIMES]   One JSON line: CPU microseconds of one check.
 */
#include "common.h"
#include <sodium.h>

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
    unsigned char token[250] = {1}, signature[crypto_sign_BYTES], public[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
    if (sodium_init() < 0 || crypto_sign_keypair(public, secret)) give_up("no key");
    if (crypto_sign_detached(signature, NULL, token, sizeof token, secret)) give_up("no signature");
    double began = cpu_us();
    for (int i = 0; i < times; i++) good += crypto_sign_verify_detached(signature, token, sizeof token, public) == 0;
    double took = cpu_us() - began;
    if (good != times) give_up("%d of %d signatures were good", good, times);
    printf("{\"us\":%.3f}\n", took / times);
    return 0;
}
