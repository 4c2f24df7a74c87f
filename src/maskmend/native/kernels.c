/* The kernels of one level of processor: LEVEL names it, the compiler's options make it.

   What they compute is what maskmend/arrays/kernels.py computes, to the bit.  They are written for
   the compiler's vectoriser: plain loops over a tile of pixels, and what depends on a pixel's label
   is selected or looked up, not branched on. */
#include "job.h"

#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

/* Before a loop over pixels that writes nothing which it reads: spares the vectoriser a check of each
   array against each other, of which it accepts only so many. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Up to here the classes of a pixel are gone through within registers, by code of its own for each
   number of them. */
enum { FEW = 4 };

#define FOR_CLASSES(K, f, ...)                                                                     \
    switch (K) {                                                                                   \
    case 2: f(2, __VA_ARGS__); break;                                                              \
    case 3: f(3, __VA_ARGS__); break;                                                              \
    default: f(4, __VA_ARGS__); break;                                                             \
    }

#include "bytes.h"

#define REAL float
#define BITS int32_t
#define UNSIGNED uint32_t
#define NAME(f) JOIN(f, f32)
#include "sweep.h"
#undef REAL
#undef BITS
#undef UNSIGNED
#undef NAME

#define REAL double
#define BITS int64_t
#define UNSIGNED uint64_t
#define NAME(f) JOIN(f, f64)
#include "sweep.h"

/* Bytes of room that a job of so many classes needs; doubles: of the functions ending in 64. */
int64_t JOIN(maskmend_room, LEVEL)(int64_t classes, int64_t doubles)
{
    int64_t values = 2 * classes * tile_pixels(classes);
    return doubles ? (int64_t)sizeof(Room_f64) + values * 8 : (int64_t)sizeof(Room_f32) + values * 4;
}

int JOIN(maskmend_sweep32, LEVEL)(Job *job) { return (int)sweep_f32(job); }
int JOIN(maskmend_sweep64, LEVEL)(Job *job) { return (int)sweep_f64(job); }
