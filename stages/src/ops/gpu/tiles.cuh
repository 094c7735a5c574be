// How blocks of 256 threads lie over [rows, channels], the numbers at once being WIDE; as the host has it (tiles.rs).

#define MEMBERS_OF_BLOCK 256
// Rows that a thread fetches before it opens the first; fewer where much else is kept in registers.
#define ROWS 4
#define FEW 2
#define EACH_NUMBER UNROLL for (count i = 0; i < wide; i++)

// A block has `across` vectors of channels of `lanes` rows at once; `tiles` blocks side by side have all channels,
// and `part` is which of the blocks below each other this is.
#define TILES(WIDE)                                                                                             \
  const count wide = WIDE;                                                                                      \
  count vectors = channels / wide, across = vectors < MEMBERS_OF_BLOCK ? vectors : MEMBERS_OF_BLOCK;            \
  count lanes = MEMBERS_OF_BLOCK / across, tiles = (vectors + across - 1) / across;                             \
  count tile = BLOCK % tiles, part = BLOCK / tiles

// Where in it a thread is.
#define PLACE                                                                                                   \
  count lane = MEMBER / across, vector = tile * across + MEMBER % across, channel = vector * wide;              \
  int busy = lane < lanes && vector < vectors

// All rows of a thread, so MANY at a time: `row` is the first of these, and the others are `step` apart. Where there is
// no such row any more the first is fetched instead.
#define EACH_ROWS(MANY)                                                                                         \
  for (count step = parts * lanes, row = part * lanes + lane; row < rows; row += MANY * step)
#define EACH_TURN(MANY) UNROLL for (count turn = 0; turn < MANY; turn++)
#define ROW (row + turn * step)
#define FETCHED ((ROW < rows ? ROW : row) * channels + channel)

// Fetches ROWS rows of an array and of the gradient by it, and opens those of a turn.
#define FETCH_BOTH(TAG, GRADIENT, X)                                                                            \
  raw_##TAG raw[ROWS], back_of[ROWS];                                                                           \
  EACH_TURN(ROWS) {                                                                                             \
    back_of[turn] = fetch_##TAG(GRADIENT, FETCHED);                                                             \
    raw[turn] = fetch_##TAG(X, FETCHED);                                                                        \
  }
#define OPEN_BOTH(TAG) open_##TAG(back_of[turn], given), open_##TAG(raw[turn], values)

// Likewise an array and another, which is added to it where `added`.
#define FETCH_WITH(TAG, X, OTHER)                                                                               \
  raw_##TAG raw[ROWS], other[ROWS];                                                                             \
  EACH_TURN(ROWS) {                                                                                             \
    raw[turn] = fetch_##TAG(X, FETCHED);                                                                        \
    if (added) other[turn] = fetch_##TAG(OTHER, FETCHED);                                                       \
  }
#define OPEN_WITH(TAG)                                                                                          \
  open_##TAG(raw[turn], values);                                                                                \
  if (added) open_##TAG(other[turn], others)

// Adds up what the threads of a block have left in `shared` [sets, members, WIDE], over the lanes:
// partial [parts, sets, channels].
#define LANES_TO(partial, sets)                                                                                 \
  MEET MEMBERS {                                                                                                \
    count kinds = sets, width = across * wide;                                                                  \
    for (count at = MEMBER; at < kinds * width; at += MEMBERS_OF_BLOCK) {                                       \
      count set = at / width, within = at % width, channel = tile * width + within;                             \
      if (channel >= channels) continue;                                                                        \
      double sum = 0;                                                                                           \
      for (count lane = 0; lane < lanes; lane++)                                                                \
        sum += shared[set * MEMBERS_OF_BLOCK * wide + lane * width + within];                                   \
      partial[(part * kinds + set) * channels + channel] = (float)sum;                                          \
    }                                                                                                           \
  }

// Columns that a block of those below adds up, each by LINES threads.
#define COLUMNS 8
#define LINES 32

// Adds up lines of `width` numbers: [lines, width] to [width].
TOGETHER fold(count lines, count width, const float *partial, float *folded) {
  SHARED double shared[MEMBERS_OF_BLOCK];
  MEMBERS {
    count column = BLOCK * COLUMNS + MEMBER % COLUMNS;
    double sum = 0;
    if (column < width)
      for (count line = MEMBER / COLUMNS; line < lines; line += LINES) sum += partial[line * width + column];
    shared[MEMBER] = sum;
  }
  MEET MEMBERS {
    count column = BLOCK * COLUMNS + MEMBER;
    if (MEMBER < COLUMNS && column < width) {
      double sum = 0;
      for (count line = 0; line < LINES; line++) sum += shared[line * COLUMNS + MEMBER];
      folded[column] = (float)sum;
    }
  }
}
