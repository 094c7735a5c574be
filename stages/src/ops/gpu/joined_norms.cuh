// Two batch norms of which one takes what the other gives: what the second sums up over a result, and the first over
// the gradient by it, is added up where that is written. Rows are dealt out as for the sums alone: the same bytes.

#define JOINED_NORMS(TAG, TYPE, WIDE)                                                                           \
  /* As normalize, and as statistics of what it gives. */                                                       \
  TOGETHER normalize_statistics_##TAG(count rows, count channels, count parts, const TYPE *x, const float *mean, \
                                      const float *scale, const float *bias, int added, const TYPE *residual,   \
                                      int bent, const float *slope, float lowest, float highest, TYPE *y,       \
                                      float *first, float *partial) {                                           \
    SHARED float shared[2 * MEMBERS_OF_BLOCK * WIDE];                                                           \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float sum[WIDE], squares[WIDE];                                                                           \
      EACH_NUMBER sum[i] = squares[i] = 0;                                                                      \
      if (busy) {                                                                                               \
        float origin[WIDE];                                                                                     \
        FACTORS(WIDE);                                                                                          \
        /* what the first row becomes, which another thread writes */                                           \
        take_##TAG(x, channel, values);                                                                         \
        if (added) take_##TAG(residual, channel, others);                                                       \
        EACH_NUMBER origin[i] = stored_##TYPE(RESULT);                                                          \
        if (part == 0 && lane == 0) EACH_NUMBER first[channel + i] = origin[i];                                 \
        EACH_ROWS(ROWS) {                                                                                       \
          FETCH_WITH(TAG, x, residual)                                                                          \
          EACH_TURN(ROWS) if (ROW < rows) {                                                                     \
            OPEN_WITH(TAG);                                                                                     \
            EACH_NUMBER values[i] = RESULT;                                                                     \
            put_stored_##TAG(y, ROW * channels + channel, values);                                              \
            ADD_APART(origin)                                                                                   \
          }                                                                                                     \
        }                                                                                                       \
      }                                                                                                         \
      KEEP_APART                                                                                                \
    }                                                                                                           \
    LANES_TO(partial, 2)                                                                                        \
  }                                                                                                             \
                                                                                                                \
  /* As back of a norm with neither limits nor slope, and as back_sums of another one with neither, of which    \
     `before` is the x. */                                                                                      \
  TOGETHER back_back_sums_##TAG(count rows, count channels, count parts, const TYPE *gradient, const TYPE *x,   \
                                const float *mean, const float *inverse, const float *scale, const float *sums, \
                                WHAT_ELSE(TYPE), TYPE *back, const TYPE *before,                                \
                                const float *mean_before, const float *inverse_before, float *partial) {        \
    SHARED float shared[2 * MEMBERS_OF_BLOCK * WIDE];                                                           \
    TILES(WIDE);                                                                                                \
    MEMBERS {                                                                                                   \
      PLACE;                                                                                                    \
      float sum[WIDE], tilted[WIDE], factor[WIDE];                                                              \
      EACH_NUMBER sum[i] = tilted[i] = factor[i] = 0;                                                           \
      if (busy) {                                                                                               \
        float centre[WIDE], even[WIDE], tilt[WIDE], origin[WIDE];                                               \
        float given[WIDE], values[WIDE], others[WIDE];                                                          \
        floats_##WIDE(mean, channel, centre);                                                                   \
        floats_##WIDE(scale, channel, factor);                                                                  \
        floats_##WIDE(inverse, channel, tilt);                                                                  \
        floats_##WIDE(mean_before, channel, origin);                                                            \
        EACH_NUMBER {                                                                                           \
          even[i] = sums[channel + i] / (float)rows;                                                            \
          tilt[i] *= sums[channels + channel + i] / (float)rows;                                                \
        }                                                                                                       \
        EACH_ROWS(FEW) {                                                                                        \
          raw_##TAG raw[FEW], back_of[FEW], more[FEW], first[FEW];                                              \
          int there[FEW];                                                                                       \
          EACH_TURN(FEW) {                                                                                      \
            back_of[turn] = fetch_##TAG(gradient, FETCHED);                                                     \
            raw[turn] = fetch_##TAG(x, FETCHED);                                                                \
            first[turn] = fetch_##TAG(before, FETCHED);                                                         \
            FETCH_ELSE(TAG);                                                                                    \
          }                                                                                                     \
          EACH_TURN(FEW) if (ROW < rows) {                                                                      \
            open_##TAG(back_of[turn], given);                                                                   \
            open_##TAG(raw[turn], values);                                                                      \
            OPEN_ELSE(TAG);                                                                                     \
            EACH_NUMBER given[i] = CARRIED_BACK(given[i], values[i] - centre[i]);                               \
            put_stored_##TAG(back, ROW * channels + channel, given);                                            \
            open_##TAG(first[turn], values);                                                                    \
            EACH_NUMBER {                                                                                       \
              sum[i] += given[i];                                                                               \
              tilted[i] += given[i] * (values[i] - origin[i]);                                                  \
            }                                                                                                   \
          }                                                                                                     \
        }                                                                                                       \
        floats_##WIDE(inverse_before, channel, factor);                                                         \
      }                                                                                                         \
      EACH_NUMBER {                                                                                             \
        shared[MEMBER * wide + i] = sum[i];                                                                     \
        shared[(MEMBERS_OF_BLOCK + MEMBER) * wide + i] = tilted[i] * factor[i];                                 \
      }                                                                                                         \
    }                                                                                                           \
    LANES_TO(partial, 2)                                                                                        \
  }
EVERY_WAY(JOINED_NORMS)
