/* Entropy decoding with what every machine has. */
#include "jpeg_entropy.h"

int nova_jpeg_row_scalar(NovaJpegFile *f, uint32_t row) { return mcu_row(f, row); }
int nova_jpeg_scan_scalar(NovaJpegFile *f) { return whole_scan(f); }
