/* What does not depend on the width of the probabilities. */

typedef uint8_t Bytes __attribute__((vector_size(64)));

/* Add how many of n bytes, n up to MOST_PIXELS, are 0, 1, ... number - 1 to counts. */
static void count_bytes(const uint8_t *bytes, int64_t n, int64_t number, int64_t *counts)
{
    int64_t whole = n / 64 * 64;
    for (int64_t value = 0; value < number; value++) {
        /* at most MOST_PIXELS / 64 in each, which a byte holds */
        Bytes lanes = {0}, some;
        int64_t total = 0;
        for (int64_t x = 0; x < whole; x += 64) {
            memcpy(&some, bytes + x, sizeof some);
            /* true is -1 */
            lanes -= (Bytes)(some == (uint8_t)value);
        }
        for (int64_t lane = 0; lane < 64; lane++)
            total += lanes[lane];
        for (int64_t x = whole; x < n; x++)
            total += bytes[x] == value;
        counts[value] += total;
    }
}

/* Where the n bytes are not zero, in order; returns how many those are. */
static int64_t find_bytes(const uint8_t *bytes, int64_t n, uint16_t *index)
{
    int64_t found = 0, x = 0;
    for (; x + 8 <= n; x += 8) {
        uint64_t word;
        memcpy(&word, bytes + x, 8);
        if (!word)
            continue;
        for (int64_t y = x; y < x + 8; y++) {
            index[found] = (uint16_t)y;
            found += bytes[y] != 0;
        }
    }
    for (; x < n; x++) {
        index[found] = (uint16_t)x;
        found += bytes[x] != 0;
    }
    return found;
}

#define CONVERT_LABELS(type)                                                                       \
    for (int64_t x = 0; x < n; x++) {                                                              \
        int64_t label = (int64_t) * (const type *)(first + x * step);                              \
        int ignored = job->ignoring && label == job->ignore;                                       \
        int known = label >= 0 && label < job->classes && !ignored;                                \
        given[x] = known ? (uint8_t)label : SKIPPED;                                               \
        bad |= !known && !ignored;                                                                 \
    }                                                                                              \
    break

/* Labels of a tile as bytes, SKIPPED where a pixel takes no part; whether any is no class. */
static int convert_labels(const Job *job, int64_t start, int64_t n, uint8_t *restrict given)
{
    const char *first = job->labels + start * job->label_step;
    int64_t step = job->label_step;
    int bad = 0;
    switch (job->label_kind) {
    case UINT8: CONVERT_LABELS(uint8_t);
    case UINT16: CONVERT_LABELS(uint16_t);
    case UINT32: CONVERT_LABELS(uint32_t);
    case UINT64: CONVERT_LABELS(uint64_t);
    case INT8: CONVERT_LABELS(int8_t);
    case INT16: CONVERT_LABELS(int16_t);
    case INT32: CONVERT_LABELS(int32_t);
    default: CONVERT_LABELS(int64_t);
    }
    return bad;
}

/* Whether labels can be taken as they lie: bytes, of which only those of no class are ignored. */
INLINE int labels_in_place(const Job *job)
{
    int free_value = !job->ignoring || job->ignore < 0 || job->ignore >= job->classes;
    return job->label_kind == UINT8 && job->label_step == 1 && free_value;
}

static int bad_bytes(const Job *job, const uint8_t *restrict given, int64_t n)
{
    int ignore = job->ignoring && job->ignore >= 0 && job->ignore < 256 ? (int)job->ignore : -1;
    uint8_t classes = (uint8_t)job->classes, bad = 0;
    for (int64_t x = 0; x < n; x++)
        bad |= (given[x] >= classes) & (given[x] != ignore);
    return bad;
}

INLINE float widened(uint16_t half)
{
    union { uint32_t bits; float value; } normal, small;
    uint32_t size = half & 0x7fff, sign = (uint32_t)(half & 0x8000) << 16;
    normal.bits = (size << 13) + (size >= 0x7c00 ? 0xe0u << 23 : 0x70u << 23);
    /* below 2**-14 a half has fewer digits, in units of 2**-24 */
    small.value = (float)(int32_t)size * 0x1p-24f;
    normal.bits = (size < 0x400 ? small.bits : normal.bits) | sign;
    return normal.value;
}

/* float16 of 1 - p as float16 arithmetic has it, where p is a probability: rounded, ties to even */
INLINE float rest_of_half(uint16_t half)
{
    union { uint32_t bits; float value; } rest;
    rest.value = 1.0f - widened(half);
    rest.bits = (rest.bits + 4095 + ((rest.bits >> 13) & 1)) >> 13 << 13;
    return rest.value;
}

/* Whole units in a probability of at most 2**51 units, towards zero. */
INLINE int64_t whole_units(double units)
{
#if defined(__AVX512DQ__) || defined(__aarch64__)
    return (int64_t)units;
#else
    /* there is no vector instruction for that; adding 2**52 leaves the nearest whole number in the
       last digits */
    union { double value; int64_t bits; } near;
    double size = units < 0 ? -units : units;
    near.value = size + 0x1p52;
    int64_t found = (near.bits & ((INT64_C(1) << 52) - 1)) - (near.value - 0x1p52 > size);
    return units < 0 ? -found : found;
#endif
}

static void add_units(int64_t *sums, int64_t given, int64_t units)
{
    sums[2 * given] += units >> 32;
    sums[2 * given + 1] += units & 0xffffffff;
}

/* Parts of a record begin at multiples of this. */
enum { EDGE = 8 };

INLINE int64_t padded(int64_t bytes) { return (bytes + EDGE - 1) / EDGE * EDGE; }
