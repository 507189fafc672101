/*
 * cpu: what the processor this process runs on can do.
 *
 * Only questions that a kernel of ours asks. Each is answered by the processor and, where registers are wider than the
 * base architecture's, by the operating system that must save them. On other architectures every answer is no.
 */
#ifndef INGOT_CPU_H
#define INGOT_CPU_H

#include <stdbool.h>

bool cpu_has_avx2(void);
bool cpu_has_avx512(void); /* foundation and doubleword/quadword instructions */
bool cpu_has_sha(void);    /* SHA extensions with the shuffles (SSSE3, SSE4.1) that feed them */

#endif
