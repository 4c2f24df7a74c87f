/* Rankings: the pixels that they look at, their scores, and what is done with those. */

typedef struct {
    NAME(Tile) pixels;
    /* where they are in the tile; NULL: they are the whole tile */
    const uint16_t *index;
} NAME(Ranked);

/* Of the record of n ranked pixels: their number, index, labels, probabilities. */
static int64_t NAME(record_bytes)(int64_t classes, int64_t n)
{
    return EDGE + padded(2 * n) + padded(n) +
           padded(classes * n * (int64_t)sizeof(REAL));
}

/* The ranked pixels of a record; returns its bytes. */
static int64_t NAME(recall)(const Job *job, const char *record, NAME(Ranked) *ranked)
{
    int64_t n;
    memcpy(&n, record, sizeof n);
    const char *given = record + EDGE + padded(2 * n);
    const REAL *values = (const REAL *)(given + padded(n));
    ranked->index = (const uint16_t *)(record + EDGE);
    ranked->pixels.n = n;
    ranked->pixels.given = (const uint8_t *)given;
    for (int64_t k = 0; k < job->classes; k++)
        ranked->pixels.rows[k] = values + k * n;
    return NAME(record_bytes)(job->classes, n);
}

/* Rank most of a tile where it lies: the other pixels become skipped ones. */
static void NAME(rank_in_place)(const NAME(Tile) *tile, NAME(Room) *room, NAME(Ranked) *ranked)
{
    const uint8_t *restrict unsure = room->byte;
    uint8_t *restrict given = room->some_given;
    for (int64_t x = 0; x < tile->n; x++)
        given[x] = unsure[x] ? tile->given[x] : SKIPPED;
    ranked->pixels = *tile;
    ranked->pixels.given = given;
    ranked->index = NULL;
}

/* Room for n ranked pixels in memory; index is written.  NULL, and nothing, if there is none. */
static char *NAME(new_record)(Job *job, const uint16_t *index, int64_t n)
{
    int64_t bytes = NAME(record_bytes)(job->classes, n);
    if (bytes > job->memory_room - job->memory_used) {
        job->memory_open = 0;
        return NULL;
    }
    char *record = job->memory + job->memory_used;
    memcpy(record, &n, sizeof n);
    memcpy(record + EDGE, index, (size_t)(2 * n));
    job->memory_used += bytes;
    job->known++;
    return record;
}

/* Pick the pixels that may be flagged out of a tile, and keep them for later passes if there is
   room. */
static void NAME(pick)(Job *job, const NAME(Tile) *tile, NAME(Room) *room, int keep,
                       NAME(Ranked) *ranked)
{
    const REAL *restrict own = room->own, sure = (REAL)job->sure;
    uint8_t *restrict unsure = room->byte, *given = room->some_given;
    int64_t classes = job->classes, stride = tile_pixels(classes);
    uint16_t *index = room->index;
    REAL *values = room->values + classes * stride;
    for (int64_t x = 0; x < tile->n; x++)
        unsure[x] = (own[x] <= sure) & (tile->given[x] < classes);
    int64_t n = find_bytes(unsure, tile->n, index);
    char *record = keep ? NAME(new_record)(job, index, n) : NULL;
    if (!record && 2 * n > tile->n) {
        NAME(rank_in_place)(tile, room, ranked);
        return;
    }
    if (record) {
        given = (uint8_t *)record + EDGE + padded(2 * n);
        values = (REAL *)(given + padded(n));
        stride = n;
    }
    for (int64_t m = 0; m < n; m++)
        given[m] = tile->given[index[m]];
    for (int64_t k = 0; k < classes; k++)
        for (int64_t m = 0; m < n; m++)
            values[k * stride + m] = tile->rows[k][index[m]];
    ranked->index = index;
    ranked->pixels.n = n;
    ranked->pixels.given = given;
    for (int64_t k = 0; k < classes; k++)
        ranked->pixels.rows[k] = values + k * stride;
}

/* own - the highest of the other classes */
static void NAME(score_rest)(const NAME(Tile) *tile, int64_t classes, const REAL *restrict own,
                             REAL *restrict rest)
{
    for (int64_t x = 0; x < tile->n; x++)
        rest[x] = -1;
    for (int64_t k = 0; k < classes; k++) {
        const REAL *restrict row = tile->rows[k];
        for (int64_t x = 0; x < tile->n; x++)
            rest[x] = (tile->given[x] != k) & (row[x] > rest[x]) ? row[x] : rest[x];
    }
    for (int64_t x = 0; x < tile->n; x++)
        rest[x] = own[x] - rest[x];
}

/* Scores of one column, in room->score. */
static void NAME(score)(const Job *job, const NAME(Tile) *tile, int32_t kind, NAME(Room) *room)
{
    const REAL *restrict own = room->own;
    REAL *restrict score = room->score;
    int64_t n = tile->n;
    if (kind == REST) {
        NAME(score_rest)(tile, job->classes, own, score);
    } else if (kind == SELF) {
        /* so that -0 is 0 */
        for (int64_t x = 0; x < n; x++)
            score[x] = own[x] + 0;
    } else {
        const REAL *restrict row = tile->rows[kind];
        for (int64_t x = 0; x < n; x++)
            score[x] = own[x] - row[x];
    }
    if (!job->half)
        return;
    /* float16 values come in float: 13 bits too many, rounded to even */
    for (int64_t x = 0; x < n; x++) {
        NAME(Word) near = {score[x]};
        UNSIGNED bits = (UNSIGNED)near.bits;
        near.bits = (BITS)((bits + 4095 + ((bits >> 13) & 1)) & ~(UNSIGNED)8191);
        score[x] = near.value;
    }
}

/* Bin of each score, in room->place. */
static void NAME(find_places)(const Job *job, int64_t n, NAME(Room) *room)
{
    const REAL *restrict score = room->score, bias = (REAL)job->bias;
    int32_t *restrict place = room->place;
    BITS floor = (BITS)job->floor, shift = (BITS)job->shift, middle = (BITS)job->middle;
    for (int64_t x = 0; x < n; x++) {
        NAME(Word) size = {(score[x] < 0 ? -score[x] : score[x]) + bias};
        BITS far = (size.bits > floor ? size.bits - floor : 0) >> shift;
        far = far < middle ? far : middle;
        place[x] = (int32_t)(score[x] < 0 ? middle - far : middle + far);
    }
}

/* Add ranked pixels to the histograms of all rankings. */
static void NAME(count_scores)(const Job *job, const NAME(Tile) *tile, NAME(Room) *room)
{
    int64_t bins = 2 * job->middle + 1;
    for (int64_t c = 0; c < job->columns; c++) {
        const int32_t *slots = job->slots + 256 * c;
        NAME(score)(job, tile, job->kinds[c], room);
        NAME(find_places)(job, tile->n, room);
        for (int64_t x = 0; x < tile->n; x++)
            job->counts[slots[tile->given[x]] * bins + room->place[x]]++;
    }
}

#define LOOK_UP_FEW(K, given, found)                                                               \
    INDEPENDENT                                                                                    \
    for (int64_t x = 0; x < n; x++) {                                                              \
        NAME(Word) word = {of_given[SKIPPED]};                                                     \
        for (int64_t k = 0; k < K; k++) {                                                          \
            NAME(Word) other = {of_given[k]};                                                      \
            word.bits ^= (word.bits ^ other.bits) & -(BITS)(given[x] == k);                        \
        }                                                                                          \
        found[x] = word.value;                                                                     \
    }

/* What the slot of each pixel of a tile has, in a column. */
static void NAME(look_up)(const Job *job, const NAME(Tile) *tile, const REAL *of_slots,
                          const int32_t *slots, REAL *restrict found)
{
    const uint8_t *restrict given = tile->given;
    int64_t n = tile->n, classes = job->classes;
    REAL of_given[256];
    /* skipped pixels are only met where everything is looked at */
    for (int64_t k = 0; k < (job->everything ? SKIPPED : classes); k++)
        of_given[k] = of_slots[slots[k]];
    of_given[SKIPPED] = of_slots[slots[SKIPPED]];
    if (classes <= FEW) {
        FOR_CLASSES(classes, LOOK_UP_FEW, given, found)
        return;
    }
    for (int64_t x = 0; x < n; x++)
        found[x] = of_given[given[x]];
}

/* Slot and score of each ranked pixel whose score lies in the window of its slot. */
static void NAME(gather_scores)(Job *job, const NAME(Tile) *tile, NAME(Room) *room)
{
    const REAL *restrict score = room->score;
    REAL *restrict low = room->total, *restrict high = room->highest;
    uint8_t *restrict inside = room->byte;
    uint16_t *index = room->found;
    for (int64_t c = 0; c < job->columns; c++) {
        const int32_t *slots = job->slots + 256 * c;
        NAME(score)(job, tile, job->kinds[c], room);
        NAME(look_up)(job, tile, job->window_low, slots, low);
        NAME(look_up)(job, tile, job->window_high, slots, high);
        for (int64_t x = 0; x < tile->n; x++)
            inside[x] = (score[x] >= low[x]) & (score[x] <= high[x]);
        int64_t found = find_bytes(inside, tile->n, index);
        for (int64_t m = 0; m < found; m++) {
            job->found_slots[job->found] = slots[tile->given[index[m]]];
            job->found_scores[job->found++] = score[index[m]];
        }
    }
}

/* Which ranked pixels the rankings take: bit 0 by self-confidence, bit 1 by a margin. */
static void NAME(take)(Job *job, const NAME(Tile) *tile, NAME(Room) *room, uint8_t *restrict taken)
{
    const REAL *cuts = job->cuts, *restrict score = room->score;
    REAL *restrict cut = room->total;
    memset(taken, 0, (size_t)tile->n);
    for (int64_t c = 0; c < job->columns; c++) {
        const int32_t *slots = job->slots + 256 * c;
        uint8_t by = job->kinds[c] == SELF || job->ranking == 4 ? 1 : 2, ties = 0;
        NAME(score)(job, tile, job->kinds[c], room);
        NAME(look_up)(job, tile, cuts, slots, cut);
        for (int64_t x = 0; x < tile->n; x++) {
            taken[x] |= score[x] < cut[x] ? by : 0;
            ties |= score[x] == cut[x];
        }
        for (int64_t x = 0; ties && x < tile->n; x++) {
            int64_t slot = slots[tile->given[x]];
            if (score[x] == cuts[slot] && job->left[slot] > 0) {
                job->left[slot]--;
                taken[x] |= by;
            }
        }
    }
}

/* Write the errors among ranked pixels to flagged, which belongs to the tile. */
static void NAME(mark)(Job *job, const NAME(Ranked) *ranked, NAME(Room) *room, uint8_t *flagged)
{
    const NAME(Tile) *tile = &ranked->pixels;
    uint8_t *restrict wrong = room->wrong, *restrict guess = room->code;
    uint8_t *restrict doubt = room->byte;
    int64_t n = tile->n, classes = job->classes, wanted = job->ranking < 4 ? job->ranking : 1;
    NAME(take)(job, tile, room, wrong);
    for (int64_t x = 0; x < n; x++)
        wrong[x] = (wrong[x] == wanted) & (tile->given[x] < classes);
    if (job->confident || job->doubted)
        NAME(judge)(job, tile, room, guess, doubt);
    if (job->confident) {
        int64_t either = job->confident == 3;
        for (int64_t x = 0; x < n; x++) {
            uint8_t given = tile->given[x];
            uint8_t sure = (guess[x] < classes) & (guess[x] != given) & (given < classes);
            wrong[x] = either ? wrong[x] | sure : wrong[x] & sure;
        }
    }
    for (int64_t x = 0; job->doubted && x < n; x++)
        wrong[x] &= doubt[x];
    for (int64_t x = 0; x < n; x++)
        flagged[ranked->index ? ranked->index[x] : x] = wrong[x];
}
