/* Entropy decoding with BMI2's shifts: a symbol is a chain of look-up and shift, and these are one step each. */
#if defined(__x86_64__)
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#include "jpeg_entropy.h"

int nova_jpeg_row_avx2(NovaJpegFile *f, uint32_t row) { return mcu_row(f, row); }
int nova_jpeg_scan_avx2(NovaJpegFile *f) { return whole_scan(f); }
#endif
