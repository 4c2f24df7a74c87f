/* Steps over a tile: own confidence, the check, sums, the class that a pixel confidently is. */

/* Self-confidence of pixel x, as `own`.  Selected by bits: a vectoriser does not load on a
   condition. */
#define SELECT_OWN(K, tile, own)                                                                   \
    NAME(Word) own = {tile->rows[0][x]};                                                           \
    for (int64_t k = 1; k < K; k++) {                                                              \
        NAME(Word) word = {tile->rows[k][x]};                                                      \
        own.bits ^= (own.bits ^ word.bits) & -(BITS)(tile->given[x] == k);                         \
    }

#define OWN(K, tile, own)                                                                          \
    INDEPENDENT                                                                                    \
    for (int64_t x = 0; x < tile->n; x++) {                                                        \
        SELECT_OWN(K, tile, found)                                                                 \
        own[x] = found.value;                                                                      \
    }

/* Self-confidence of each pixel; that of a skipped pixel means nothing. */
static void NAME(own_of)(int64_t classes, const NAME(Tile) *tile, REAL *restrict own)
{
    if (classes <= FEW) {
        FOR_CLASSES(classes, OWN, tile, own)
        return;
    }
    for (int64_t x = 0; x < tile->n; x++) {
        uint8_t given = tile->given[x];
        own[x] = tile->rows[given < classes ? given : 0][x];
    }
}

INLINE int NAME(off)(REAL total, REAL whole, REAL tolerance)
{
    REAL miss = total - whole;
    miss = miss < 0 ? -miss : miss;
    /* NaN compares false */
    return !(miss <= tolerance);
}

#define CHECK_FEW(K, tile, bytes)                                                                  \
    INDEPENDENT                                                                                    \
    for (int64_t x = 0; x < tile->n; x++) {                                                        \
        REAL total = 0;                                                                            \
        int bad = 0;                                                                               \
        SELECT_OWN(K, tile, found)                                                                 \
        for (int64_t k = 0; k < K; k++) {                                                          \
            REAL value = tile->rows[k][x];                                                         \
            total += value;                                                                        \
            bad |= !((value >= low) & (value <= high));                                            \
        }                                                                                          \
        bytes[x] = (uint8_t)((bad | NAME(off)(total, whole, tolerance)) & (tile->given[x] < K));   \
        own[x] = found.value;                                                                      \
    }

/* First pixel that takes part and holds no probabilities, or -1; self-confidences on the way. */
static int64_t NAME(first_bad)(const Job *job, const NAME(Tile) *tile, NAME(Room) *room)
{
    REAL low = (REAL)job->low, high = (REAL)job->high;
    REAL whole = (REAL)job->whole, tolerance = (REAL)job->tolerance;
    int64_t n = tile->n, classes = job->classes;
    uint8_t *restrict bytes = room->byte, any = 0;
    REAL *restrict own = room->own;
    if (classes <= FEW) {
        FOR_CLASSES(classes, CHECK_FEW, tile, bytes)
    } else {
        REAL *restrict total = room->total;
        int32_t *restrict bad = room->number;
        NAME(own_of)(classes, tile, own);
        for (int64_t x = 0; x < n; x++)
            total[x] = 0, bad[x] = 0;
        for (int64_t k = 0; k < classes; k++) {
            const REAL *restrict row = tile->rows[k];
            for (int64_t x = 0; x < n; x++) {
                total[x] += row[x];
                bad[x] |= !((row[x] >= low) & (row[x] <= high));
            }
        }
        for (int64_t x = 0; x < n; x++)
            bytes[x] = (uint8_t)((bad[x] | NAME(off)(total[x], whole, tolerance)) &
                                 (tile->given[x] < classes));
    }
    for (int64_t x = 0; x < n; x++)
        any |= bytes[x];
    return any && find_bytes(bytes, n, room->index) ? room->index[0] : -1;
}

#define SUM_FEW(K, tile, own)                                                                      \
    {                                                                                              \
        int64_t totals[K] = {0};                                                                   \
        for (int64_t x = 0; x < tile->n; x++) {                                                    \
            int64_t units = whole_units(tile->given[x] < K ? (double)own[x] * scale : 0);          \
            for (int64_t k = 0; k < K; k++)                                                        \
                totals[k] += tile->given[x] == k ? units : 0;                                      \
        }                                                                                          \
        for (int64_t k = 0; k < K; k++)                                                            \
            add_units(job->sums, k, totals[k]);                                                    \
    }

/* Add pixels and whole units of self-confidence of each class. */
static void NAME(sum_given)(const Job *job, const NAME(Tile) *tile, const REAL *restrict own)
{
    double scale = job->scale;
    int64_t classes = job->classes;
    count_bytes(tile->given, tile->n, classes, job->sizes);
    if (classes <= FEW) {
        FOR_CLASSES(classes, SUM_FEW, tile, own)
        return;
    }
    /* in turn, as adding to one number again and again waits for it */
    int64_t totals[4][256] = {{0}};
    for (int64_t x = 0; x < tile->n; x++)
        if (tile->given[x] < classes)
            totals[x & 3][tile->given[x]] += whole_units((double)own[x] * scale);
    for (int64_t k = 0; k < classes; k++)
        add_units(job->sums, k, totals[0][k] + totals[1][k] + totals[2][k] + totals[3][k]);
}

/* Of the classes that are confident the one; of several the most probable present one, whether it
   is confident or not; K of none.  Doubted: another class is more probable than the given one
   raised by the slack, or as probable and before it. */
#define JUDGE_FEW(K, tile)                                                                         \
    INDEPENDENT                                                                                    \
    for (int64_t x = 0; x < tile->n; x++) {                                                        \
        int32_t number = 0, only = K, most = 0, first = 0, given = tile->given[x];                 \
        REAL highest = -1, top = -1;                                                               \
        SELECT_OWN(K, tile, own)                                                                   \
        REAL raised = own.value + slack;                                                           \
        for (int64_t k = 0; k < K; k++) {                                                          \
            REAL value = tile->rows[k][x];                                                         \
            int sure = value >= least[k];                                                          \
            int better = (value > highest) & present[k];                                           \
            int above = value > top;                                                               \
            number += sure;                                                                        \
            only = sure ? (int32_t)k : only;                                                       \
            most = better ? (int32_t)k : most;                                                     \
            highest = better ? value : highest;                                                    \
            first = above ? (int32_t)k : first;                                                    \
            top = above ? value : top;                                                             \
        }                                                                                          \
        guess[x] = (uint8_t)(number > 1 ? most : only);                                            \
        doubt[x] = (uint8_t)((top > raised) | ((top == raised) & (first < given)));                \
    }

/* Highest probability of each pixel and the first class that has it, of present classes or all. */
static void NAME(find_top)(const NAME(Tile) *tile, int64_t classes, const uint8_t *present,
                           REAL *restrict highest, int32_t *restrict most)
{
    for (int64_t x = 0; x < tile->n; x++)
        highest[x] = -1, most[x] = 0;
    for (int64_t k = 0; k < classes; k++) {
        const REAL *restrict row = tile->rows[k];
        if (present && !present[k])
            continue;
        for (int64_t x = 0; x < tile->n; x++) {
            int better = row[x] > highest[x];
            most[x] = better ? (int32_t)k : most[x];
            highest[x] = better ? row[x] : highest[x];
        }
    }
}

static void NAME(judge_many)(const Job *job, const NAME(Tile) *tile, NAME(Room) *room,
                             const REAL *restrict own, uint8_t *restrict guess,
                             uint8_t *restrict doubt)
{
    const REAL *least = job->least, slack = (REAL)job->slack;
    int32_t *restrict number = room->number, *restrict only = room->only;
    REAL *highest = room->highest;
    int32_t *most = room->most;
    int64_t n = tile->n, absent = 0;
    for (int64_t x = 0; x < n; x++)
        number[x] = 0, only[x] = (int32_t)job->classes;
    for (int64_t k = 0; k < job->classes; k++) {
        const REAL *restrict row = tile->rows[k];
        REAL cutoff = least[k];
        absent += !job->present[k];
        for (int64_t x = 0; x < n; x++) {
            number[x] += row[x] >= cutoff;
            only[x] = row[x] >= cutoff ? (int32_t)k : only[x];
        }
    }
    NAME(find_top)(tile, job->classes, job->present, highest, most);
    for (int64_t x = 0; x < n; x++)
        guess[x] = (uint8_t)(number[x] > 1 ? most[x] : only[x]);
    if (absent)
        NAME(find_top)(tile, job->classes, NULL, highest, most);
    for (int64_t x = 0; x < n; x++) {
        REAL raised = own[x] + slack;
        doubt[x] =
            (uint8_t)((highest[x] > raised) | ((highest[x] == raised) & (most[x] < tile->given[x])));
    }
}

/* The class that each pixel confidently is, K for none, and whether it is doubted, as bytes. */
static void NAME(judge)(const Job *job, const NAME(Tile) *tile, NAME(Room) *room,
                        uint8_t *restrict guess, uint8_t *restrict doubt)
{
    const REAL *least = job->least, slack = (REAL)job->slack;
    const uint8_t *present = job->present;
    if (job->classes <= FEW) {
        FOR_CLASSES(job->classes, JUDGE_FEW, tile)
        return;
    }
    NAME(own_of)(job->classes, tile, room->own);
    NAME(judge_many)(job, tile, room, room->own, guess, doubt);
}

/* Add a tile to the confident joint and its errors. */
static void NAME(count_confident)(Job *job, const NAME(Tile) *tile, NAME(Room) *room)
{
    uint8_t *restrict guess = room->code, *restrict doubt = room->byte;
    int64_t n = tile->n, classes = job->classes, errors = 0;
    NAME(judge)(job, tile, room, guess, doubt);
    for (int64_t x = 0; x < n; x++) {
        uint8_t given = tile->given[x];
        doubt[x] &= (guess[x] < classes) & (guess[x] != given) & (given < classes);
    }
    for (int64_t x = 0; x < n; x++)
        errors += doubt[x];
    job->errors += errors;
    if (classes <= FEW) {
        for (int64_t x = 0; x < n; x++) {
            uint8_t given = tile->given[x];
            guess[x] = given < classes ? (uint8_t)(given * (classes + 1) + guess[x]) : SKIPPED;
        }
        count_bytes(guess, n, classes * (classes + 1), job->joint);
        return;
    }
    for (int64_t x = 0; x < n; x++)
        if (tile->given[x] < classes)
            job->joint[tile->given[x] * (classes + 1) + guess[x]]++;
}
