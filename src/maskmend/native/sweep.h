/* A sweep over the pixels of a run, for one width of the probabilities. */
#include "read.h"
#include "tile.h"
#include "rank.h"

/* What is done with the ranked pixels of the tile that begins at `start`. */
static void NAME(rank_tile)(Job *job, const NAME(Ranked) *ranked, NAME(Room) *room, int64_t start)
{
    NAME(own_of)(job->classes, &ranked->pixels, room->own);
    if (job->wanted & HISTOGRAM)
        NAME(count_scores)(job, &ranked->pixels, room);
    if (job->wanted & CANDIDATES)
        NAME(gather_scores)(job, &ranked->pixels, room);
    if (job->wanted & MARK)
        NAME(mark)(job, ranked, room, job->flagged + start);
}

/* Read and count a tile, self-confidences included where they are asked for; 0, or what stops the
   sweep at the pixel job->start. */
static int64_t NAME(look_at)(Job *job, int64_t start, int64_t n, NAME(Room) *room,
                             NAME(Tile) *tile)
{
    if (NAME(read_tile)(job, start, n, room, tile)) {
        job->start = start;
        return BAD_LABEL;
    }
    if (job->wanted & CHECK) {
        int64_t bad = NAME(first_bad)(job, tile, room);
        if (bad >= 0) {
            job->start = start + bad;
            return BAD_PROBABILITY;
        }
    }
    if (job->wanted & CONFIDENT)
        NAME(count_confident)(job, tile, room);
    if (!(job->wanted & CHECK) && job->wanted != CONFIDENT)
        NAME(own_of)(job->classes, tile, room->own);
    if (job->wanted & SUMS)
        NAME(sum_given)(job, tile, room->own);
    return DONE;
}

static int64_t NAME(sweep)(Job *job)
{
    NAME(Room) *room = job->room;
    NAME(Tile) tile;
    NAME(Ranked) ranked;
    int64_t size = tile_pixels(job->classes), ranks = job->wanted & (HISTOGRAM | CANDIDATES | MARK);
    for (int64_t start = job->start; start < job->pixels; start += size) {
        int64_t n = job->pixels - start < size ? job->pixels - start : size;
        int64_t known = start / size < job->known;
        if (job->wanted & CANDIDATES && job->found + n * job->columns > job->found_room) {
            job->start = start;
            return NO_ROOM;
        }
        if (known && !(job->wanted & (CHECK | SUMS | CONFIDENT))) {
            job->memory_at += NAME(recall)(job, job->memory + job->memory_at, &ranked);
        } else {
            int64_t stopped = NAME(look_at)(job, start, n, room, &tile);
            if (stopped)
                return stopped;
            if (!ranks)
                continue;
            if (job->everything) {
                ranked.pixels = tile;
                ranked.index = NULL;
            } else {
                NAME(pick)(job, &tile, room, job->memory_open && !known, &ranked);
            }
        }
        NAME(rank_tile)(job, &ranked, room, start);
    }
    return DONE;
}
