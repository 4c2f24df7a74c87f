/* Tiles of pixels: labels as bytes, a row of REAL for each class. */

typedef union {
    REAL value;
    BITS bits;
} NAME(Word);

typedef struct {
    int64_t n;
    const uint8_t *given;
    const REAL *rows[MAX_CLASSES];
} NAME(Tile);

typedef struct {
    REAL own[MOST_PIXELS], score[MOST_PIXELS], highest[MOST_PIXELS], total[MOST_PIXELS];
    int32_t number[MOST_PIXELS], only[MOST_PIXELS], most[MOST_PIXELS], place[MOST_PIXELS];
    uint8_t given[MOST_PIXELS], some_given[MOST_PIXELS], code[MOST_PIXELS], byte[MOST_PIXELS];
    uint8_t wrong[MOST_PIXELS];
    uint16_t index[MOST_PIXELS], found[MOST_PIXELS];
    /* two times (classes, tile): pixels converted, and pixels picked out */
    REAL values[];
} NAME(Room);

#define ROWS(type, convert)                                                                        \
    for (int64_t k = 0; k < classes; k++) {                                                        \
        const char *row = first + k * job->class_step;                                             \
        REAL *restrict out = values + k * stride;                                                  \
        if (job->pixel_step == (int64_t)sizeof(type))                                              \
            for (int64_t x = 0; x < n; x++)                                                        \
                out[x] = (REAL)convert(((const type *)row)[x]);                                    \
        else                                                                                       \
            for (int64_t x = 0; x < n; x++)                                                        \
                out[x] = (REAL)convert(*(const type *)(row + x * job->pixel_step));                \
    }

/* the classes of a pixel side by side */
#define TURN(K, type, convert)                                                                     \
    for (int64_t x = 0; x < n; x++)                                                                \
        for (int64_t k = 0; k < K; k++)                                                            \
            values[k * stride + x] = (REAL)convert(((const type *)first)[x * K + k])

#define READ(type, convert)                                                                        \
    if (job->class_step != (int64_t)sizeof(type) || job->pixel_step != classes * job->class_step)  \
        ROWS(type, convert)                                                                        \
    else if (classes <= FEW)                                                                       \
        FOR_CLASSES(classes, TURN, type, convert)                                                  \
    else                                                                                           \
        TURN(classes, type, convert);                                                              \
    break

#define AS_IS(value) (value)

/* Write the probabilities of a tile to values, (classes, stride). */
static void NAME(convert)(const Job *job, int64_t start, int64_t n, REAL *restrict values,
                          int64_t stride)
{
    const char *first = job->probs + start * job->pixel_step;
    int64_t classes = job->classes;
    switch (job->prob_kind) {
    case BYTES: READ(uint8_t, AS_IS);
    case HALVES: READ(uint16_t, widened);
    case SHORTS: READ(uint16_t, AS_IS);
    default: READ(REAL, AS_IS);
    }
}

#define REST_OF(type, rest, convert)                                                               \
    for (int64_t x = 0; x < n; x++) {                                                              \
        type value = *(const type *)(first + x * job->pixel_step);                                 \
        values[x] = (REAL)rest;                                                                    \
        values[stride + x] = (REAL)convert(value);                                                 \
    }                                                                                              \
    break

/* The same from the foreground of two classes alone: 1 - p, in the type of p, and p. */
static void NAME(convert_foreground)(const Job *job, int64_t start, int64_t n,
                                     REAL *restrict values, int64_t stride)
{
    const char *first = job->probs + start * job->pixel_step;
    switch (job->prob_kind) {
    case BYTES: REST_OF(uint8_t, 255 - value, AS_IS);
    case HALVES: REST_OF(uint16_t, rest_of_half(value), widened);
    case SHORTS: REST_OF(uint16_t, 65535 - value, AS_IS);
    default: REST_OF(REAL, 1 - value, AS_IS);
    }
}

/* The tile of n pixels from start on; returns whether a label is no class, if it was checked. */
static int NAME(read_tile)(const Job *job, int64_t start, int64_t n, NAME(Room) *room,
                           NAME(Tile) *tile)
{
    int64_t stride = tile_pixels(job->classes);
    int bad = 0;
    tile->n = n;
    tile->given = room->given;
    if (labels_in_place(job)) {
        tile->given = (const uint8_t *)job->labels + start;
        bad = (job->wanted & CHECK) && bad_bytes(job, tile->given, n);
    } else {
        bad = convert_labels(job, start, n, room->given);
    }
    int singles = job->prob_kind == (int64_t)sizeof(REAL) && !job->foreground;
    int in_place = singles && job->pixel_step == (int64_t)sizeof(REAL);
    if (job->foreground)
        NAME(convert_foreground)(job, start, n, room->values, stride);
    else if (!in_place)
        NAME(convert)(job, start, n, room->values, stride);
    for (int64_t k = 0; k < job->classes; k++)
        tile->rows[k] = in_place ? (const REAL *)(job->probs + k * job->class_step) + start
                                 : room->values + k * stride;
    return bad;
}
