// Matrices with their rows and columns exchanged.

// The side of a tile, which a block reads row by row and writes column by column. One number more in each line of
// shared memory: the numbers of a column then lie in other banks.
#define SIDE 32
#define LINE (SIDE + 1)

#define TRANSPOSE(TYPE)                                                                                         \
  /* y [matrices, columns, rows] of x [matrices, rows, columns]. */                                             \
  TOGETHER transpose_##TYPE(count rows, count columns, const TYPE *x, TYPE *y) {                                \
    SHARED TYPE shared[SIDE * LINE];                                                                            \
    count across = (columns + SIDE - 1) / SIDE, down = (rows + SIDE - 1) / SIDE;                                \
    count left = BLOCK % across * SIDE, top = BLOCK / across % down * SIDE;                                     \
    count matrix = BLOCK / across / down * rows * columns;                                                      \
    MEMBERS {                                                                                                   \
      count place = MEMBER % SIDE, column = left + place;                                                       \
      for (count line = MEMBER / SIDE; line < SIDE; line += MEMBERS_OF_BLOCK / SIDE)                            \
        if (top + line < rows && column < columns)                                                              \
          shared[line * LINE + place] = x[matrix + (top + line) * columns + column];                            \
    }                                                                                                           \
    MEET MEMBERS {                                                                                              \
      count place = MEMBER % SIDE, row = top + place;                                                           \
      for (count line = MEMBER / SIDE; line < SIDE; line += MEMBERS_OF_BLOCK / SIDE)                            \
        if (left + line < columns && row < rows)                                                                \
          y[matrix + (left + line) * rows + row] = shared[place * LINE + line];                                 \
    }                                                                                                           \
  }

TRANSPOSE(f32)
TRANSPOSE(bf16)
