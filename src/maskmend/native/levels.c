/* Which of the levels that kernels.c was compiled for suits this processor.

   HIGHEST: the last level that the compiler knew.  STAMP: which sources these are, as a string. */

/* 0 plain, 1 AVX2, 2 AVX-512. */
int maskmend_level(void)
{
    int level = 0;
#if HIGHEST > 0
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        level = 1;
    if (level && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        level = 2;
#endif
    return level < HIGHEST ? level : HIGHEST;
}

/* Shows whether a library is that of the sources beside it. */
const char *maskmend_stamp(void) { return STAMP; }
