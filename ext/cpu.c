#include "cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Leaf 7, EBX bit 29 (Intel SDM volume 2, CPUID). Asked directly: __builtin_cpu_supports("sha") is younger than the
 * compilers we build with. SHA works on XMM registers, which every x86-64 system saves. */
static bool leaf_7_has_sha(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx >> 29 & 1);
}

bool cpu_has_avx2(void) { return __builtin_cpu_supports("avx2"); }

bool cpu_has_avx512(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"); }

bool cpu_has_sha(void)
{
    return leaf_7_has_sha() && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1");
}

#else

bool cpu_has_avx2(void) { return false; }

bool cpu_has_avx512(void) { return false; }

bool cpu_has_sha(void) { return false; }

#endif
