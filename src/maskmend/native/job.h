/* What a sweep over the pixels of a run is asked for, and what it answers.

   Mirrored by `Job` of maskmend/arrays/compiled.py, field for field; all fields are 8 bytes wide.
   REAL arrays hold float or double, as the function that is called says. */
#ifndef MASKMEND_JOB_H
#define MASKMEND_JOB_H

#include <stdint.h>

enum { CHECK = 1, SUMS = 2, CONFIDENT = 4, HISTOGRAM = 8, CANDIDATES = 16, MARK = 32 };
enum { DONE = 0, NO_ROOM = 1, BAD_LABEL = 2, BAD_PROBABILITY = 3 };
/* kinds of labels and probabilities: their bytes, and for labels 16 more where they are signed */
enum { UINT8 = 1, UINT16 = 2, UINT32 = 4, UINT64 = 8, INT8 = 17, INT16 = 18, INT32 = 20, INT64 = 24 };
enum { BYTES = 1, HALVES = 2, SHORTS = 3, SINGLES = 4, DOUBLES = 8 };
/* kinds of columns that are no class: self-confidence, margin against the best other class */
enum { SELF = -1, REST = -2 };

enum { MAX_CLASSES = 254, MOST_PIXELS = 4096, LEAST_PIXELS = 512, SKIPPED = 255 };

typedef struct {
    /* pixels: addresses of the first, steps in bytes */
    const char *labels, *probs;
    int64_t label_step, label_kind, class_step, pixel_step, prob_kind, pixels;
    /* first pixel to look at, a multiple of the tile; afterwards the one that stopped the sweep */
    int64_t start;
    /* foreground: probs are those of class 1 of two.  ignoring: whether `ignore` says anything */
    int64_t classes, foreground, ignoring, ignore, wanted;
    /* CHECK: each probability in [low, high], their sum `whole` give or take the tolerance */
    double low, high, whole, tolerance;
    /* SUMS: sizes (K) pixels, sums (K, 2) units as high * 2**32 + low; units in a stored one */
    int64_t *sizes, *sums;
    double scale;
    /* CONFIDENT, MARK: least (K) confident REAL, present (K) bytes; joint (K, K + 1) counts, the
       last column confident of no class; errors: confident of another class, and doubted */
    const void *least;
    const uint8_t *present;
    double slack;
    int64_t *joint, errors;
    /* rankings look at pixels of at most `sure` self-confidence, or at everything */
    int64_t everything;
    double sure;
    /* columns to score: kinds (C), a class, SELF or REST; slots (C, 256), the ranking of each given
       class, or one more than there are */
    int64_t columns;
    const int32_t *kinds, *slots;
    int64_t half;
    /* HISTOGRAM: bins as in kernels.Bins, of bits of REAL; counts (slots + 1, bins) */
    double bias;
    int64_t floor, shift, middle;
    int64_t *counts;
    /* CANDIDATES: windows (slots + 1) REAL, the last one empty; found_room rows are free */
    const void *window_low, *window_high;
    int32_t *found_slots;
    double *found_scores;
    int64_t found, found_room;
    /* MARK: cuts (slots + 1) REAL, the last one -inf; left (slots) is counted down */
    const void *cuts;
    int64_t *left, ranking, confident, doubted;
    uint8_t *flagged;
    /* ranked pixels of the first `known` tiles, in `memory_used` bytes of `memory`; memory_at: where
       the record of the first tile to look at begins; more are kept while memory_open */
    char *memory;
    int64_t memory_room, memory_used, memory_at, known, memory_open;
    /* room for a tile, as large as maskmend_room says, on an edge of 64 bytes */
    void *room;
} Job;

/* Pixels that are worked on at a time, so that they stay in the nearest caches. */
static inline int64_t tile_pixels(int64_t classes)
{
    int64_t pixels = 16384 / classes / 64 * 64;
    return pixels > MOST_PIXELS ? MOST_PIXELS : pixels < LEAST_PIXELS ? LEAST_PIXELS : pixels;
}

#endif
