// A BERT-like encoder in integers of 8 bits on the vector units (AVX-512 VNNI) that Intel's server CPUs have
// since 2019, AMD's since 2022, from token ids to vectors, and the heads' scores of each token: what amx.cpp
// does where there is no matrix unit.  encoders.py calls it.
//
// Weights [n, k] have one scale for each of n.  Each row x that they are multiplied with is laid between its
// own least and greatest number as it comes (Jacob et al. 2018), x = low + step q with q from 0 to 255, so
//   x W' = step scale (q W8') + low (scale sum(W8))
// where all but the integers' own product is float32, as sums, norms, attention and GELU are.  Where that is
// too coarse, q goes up to 65535 and its two bytes are multiplied one after the other.
// In memory the weights are panels of 64 of n; in each, for every 4 of k, 64 times 4 bytes.  `scale` [n] is
// theirs, `sum` [n] their sums times the scale, and of what is multiplied with the wide part those of each
// PART of k, [k / PART, n].

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>

// What runs before the CPU is known stands outside.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include "encoder.h"

namespace {
constexpr int LANES = 16, PANEL = 64, VECTORS = PANEL / LANES, STEP = 4;  // numbers; of k
// Rows that are multiplied together: with them the sums fill the vector registers.
constexpr int ROWS = 6;
// Tokens that go through all layers together, and columns of the wide part that are quantised together: with
// them what is read again and again stays in a cache of 2 MB.
constexpr int GROUP = 384, PART = 256;
// Queries of one head that are seen to together.
constexpr int QUERIES = 4;

// Rows of k numbers as bytes, where all second bytes come after all first ones, and what they stand for.
struct Quantised {
    uint8_t* bytes;
    float *step, *low;
    int rows, k;
};

struct Room {
    Buffer<float> sums, projected, context, part, keys, scores, scaled;
    struct { Buffer<uint8_t> bytes; Buffer<float> step, low; } x, y;
};

inline int up_to(int count, int whole) { return (count + whole - 1) / whole * whole; }

// A row of numbers, as BYTES bytes each.
template <int BYTES> inline void quantise(const float* x, const Quantised& to, int row) {
    __m512 least = _mm512_load_ps(x), greatest = least, nothing = _mm512_setzero_ps();
    for (int at = 0; at < to.k; at += LANES) {
        const __m512 numbers = _mm512_load_ps(x + at);
        least = _mm512_min_ps(least, numbers);
        greatest = _mm512_max_ps(greatest, numbers);
        // What is not finite stays so: the row is none, then.
        nothing = _mm512_fmadd_ps(numbers, _mm512_setzero_ps(), nothing);
    }
    const bool finite = !_mm512_cmp_ps_mask(nothing, nothing, _CMP_UNORD_Q);
    const float low = _mm512_reduce_min_ps(least), range = _mm512_reduce_max_ps(greatest) - low;
    constexpr float MOST = BYTES == 1 ? 255.0f : 65535.0f;
    to.low[row] = finite ? low : NAN;
    to.step[row] = range / MOST;
    const __m512 by = _mm512_set1_ps(range > 0 ? MOST / range : 0.0f), from = _mm512_set1_ps(low);
    uint8_t* first = to.bytes + int64_t(row) * to.k;
    uint8_t* second = first + int64_t(to.rows) * to.k;
    for (int at = 0; at < to.k; at += LANES) {
        const __m512i q = _mm512_cvtps_epu32(_mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(x + at), from), by));
        auto put = [=](uint8_t* bytes, __m512i numbers) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + at), _mm512_cvtepi32_epi8(numbers));
        };
        put(first, BYTES == 2 ? _mm512_srli_epi32(q, 8) : q);
        if (BYTES == 2) put(second, q);
    }
}

// sums += numbers times weights, four bytes each.  Written out, since a compiler moves and stores the sums in
// between where it knows what the instruction does.
inline void add_products(__m512i& sums, __m512i numbers, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(numbers), "v"(weights));
}

// found [ROWS, PANEL] = a b: rows `stride` bytes apart and a panel, over so many times 4 of k.
inline __attribute__((always_inline)) void multiply(
    const uint8_t* a, int64_t stride, const int8_t* b, int steps, __m512i (&found)[ROWS][VECTORS]
) {
    __m512i sums[ROWS][VECTORS] = {};
#pragma GCC unroll 1
    for (int step = 0; step < steps; ++step, a += STEP, b += PANEL * STEP) {
        __m512i weights[VECTORS];
#pragma GCC unroll 4
        for (int at = 0; at < VECTORS; ++at) weights[at] = _mm512_load_si512(b + at * 64);
#pragma GCC unroll 6
        for (int row = 0; row < ROWS; ++row) {
            int32_t four;
            std::memcpy(&four, a + row * stride, sizeof four);
            const __m512i numbers = _mm512_set1_epi32(four);
#pragma GCC unroll 4
            for (int at = 0; at < VECTORS; ++at) add_products(sums[row][at], numbers, weights[at]);
        }
    }
#pragma GCC unroll 6
    for (int row = 0; row < ROWS; ++row)
#pragma GCC unroll 4
        for (int at = 0; at < VECTORS; ++at) found[row][at] = sums[row][at];
}

// x W' + bias, `count` columns of it from `first` on; where x is one of the parts of k, its share of that.
// `take(row, column, numbers)` gets 16 of a row.
template <int BYTES, class Take>
void product(const Quantised& x, const Product& by, int part, int first, int count, Take take) {
    const float *sum = by.sum + part * by.n, *scale = by.scale, *bias = by.bias;
    const float *steps = x.step, *lows = x.low;
    for (int column = first; column < first + count; column += PANEL) {
        const int8_t* weights =
            static_cast<const int8_t*>(by.weights) + column * by.k + int64_t(part) * PART * PANEL;
        // The next panel comes nearer meanwhile.
        const char* coming = reinterpret_cast<const char*>(weights + PANEL * by.k);
        const int lines = (x.k * PANEL / 64 + x.rows / ROWS - 1) / (x.rows / ROWS);
        for (int row = 0; row < x.rows; row += ROWS) {
            for (int line = 0; line < lines; ++line, coming += 64) _mm_prefetch(coming, _MM_HINT_T1);
            const uint8_t* bytes = x.bytes + int64_t(row) * x.k;
            __m512i sums[ROWS][VECTORS];
            __m512 above[ROWS][VECTORS];
            if (BYTES == 2) {
                multiply(bytes, x.k, weights, x.k / STEP, sums);
                for (int i = 0; i < ROWS; ++i)
                    for (int at = 0; at < VECTORS; ++at)
                        above[i][at] = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][at]), _mm512_set1_ps(256.0f));
                bytes += int64_t(x.rows) * x.k;
            }
            multiply(bytes, x.k, weights, x.k / STEP, sums);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; ++i) {
                const __m512 step = _mm512_set1_ps(steps[row + i]), low = _mm512_set1_ps(lows[row + i]);
#pragma GCC unroll 4
                for (int at = 0; at < VECTORS; ++at) {
                    const int here = column + at * LANES;
                    __m512 whole = _mm512_cvtepi32_ps(sums[i][at]);
                    if (BYTES == 2) whole = _mm512_add_ps(whole, above[i][at]);
                    const __m512 more = part ? _mm512_setzero_ps() : _mm512_loadu_ps(bias + here);
                    const __m512 rest = _mm512_fmadd_ps(low, _mm512_loadu_ps(sum + here), more);
                    whole = _mm512_mul_ps(whole, step);
                    take(row + i, here, _mm512_fmadd_ps(whole, _mm512_loadu_ps(scale + here), rest));
                }
            }
        }
    }
}

// sums = the layer norm of each row of sums [rows, n]; to: the same without the norm's bias, which the
// products with it have in their own.  (Ba et al. 2016.)
template <int BYTES>
void normalise(float* sums, const Norm& by, float eps, float* scaled, const Quantised& to) {
    const int n = to.k;
    for (int row = 0; row < to.rows; ++row) {
        float* own = sums + int64_t(row) * n;
        const auto [mean, scale] = moments(own, LANES, n, eps);
        for (int at = 0; at < n; at += LANES) {
            const __m512 off = _mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(own + at), mean), scale);
            const __m512 found = _mm512_mul_ps(off, _mm512_loadu_ps(by.weight + at));
            _mm512_store_ps(scaled + at, found);
            _mm512_store_ps(own + at, _mm512_add_ps(found, _mm512_loadu_ps(by.bias + at)));
        }
        quantise<BYTES>(scaled, to, row);
    }
}

// to [QUERIES, 16 VECTORS] = a b: rows of a and of b so many numbers apart, over k.
template <int VECTORS> inline __attribute__((always_inline)) void multiply_rows(
    const float* a, int64_t a_row, const float* b, int64_t b_row, int k, float* to, int64_t to_row
) {
    __m512 sums[QUERIES][VECTORS] = {};
#pragma GCC unroll 1
    for (int step = 0; step < k; ++step, ++a, b += b_row)
#pragma GCC unroll 4
        for (int at = 0; at < VECTORS; ++at) {
            const __m512 right = _mm512_loadu_ps(b + at * LANES);
#pragma GCC unroll 4
            for (int row = 0; row < QUERIES; ++row)
                sums[row][at] = _mm512_fmadd_ps(_mm512_set1_ps(a[row * a_row]), right, sums[row][at]);
        }
#pragma GCC unroll 4
    for (int row = 0; row < QUERIES; ++row)
#pragma GCC unroll 4
        for (int at = 0; at < VECTORS; ++at) _mm512_storeu_ps(to + row * to_row + at * LANES, sums[row][at]);
}

// The scores of so many keys become shares, 2^(scale (score - the highest)) over their sum.
inline void softmax(float* scores, int keys, __m512 scale) {
    __m512 highest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int at = 0; at < keys; at += LANES)
        highest = _mm512_mask_max_ps(highest, first_of(keys - at), highest, _mm512_load_ps(scores + at));
    highest = _mm512_set1_ps(_mm512_reduce_max_ps(highest));
    for (int at = 0; at < keys; at += LANES) {
        const __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + at), highest);
        const __m512 share = power_of_two(_mm512_mul_ps(below, scale));
        const __m512 counted = _mm512_maskz_mov_ps(first_of(keys - at), share);
        _mm512_store_ps(scores + at, counted);
        sum = _mm512_add_ps(sum, counted);
    }
    const __m512 over = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (int at = 0; at < keys; at += LANES)
        _mm512_store_ps(scores + at, _mm512_mul_ps(_mm512_load_ps(scores + at), over));
}

// Attention within one text of so many tokens: projected [tokens, 3 h] are queries, keys and values, context
// [tokens, h].  What is read beyond the text is there, and thrown away.
void attend(const float* projected, int tokens, int h, int d, float* context, Room& room) {
    const int padded = up_to(tokens, LANES), row_of_three = 3 * h;
    float* keys = room.keys.of(int64_t(h) * padded);
    float* scores = room.scores.of(int64_t(QUERIES) * padded);
    for (int at = 0; at < h; at += LANES)
        for (int token = 0; token < padded; token += LANES)
            turn_round(projected + int64_t(token) * row_of_three + h + at, row_of_three * sizeof(float),
                       keys + int64_t(at) * padded + token, padded * sizeof(float));
    const __m512 scale = _mm512_set1_ps(float(M_LOG2E) / std::sqrt(float(d)));
    for (int head = 0; head < h; head += d)
        for (int row = 0; row < tokens; row += QUERIES) {
            const float* query = projected + int64_t(row) * row_of_three + head;
            const float *key = keys + int64_t(head) * padded, *value = projected + 2 * h + head;
            int at = 0;
            for (; at + 2 * LANES <= padded; at += 2 * LANES)
                multiply_rows<2>(query, row_of_three, key + at, padded, d, scores + at, padded);
            if (at < padded) multiply_rows<1>(query, row_of_three, key + at, padded, d, scores + at, padded);
            for (int i = 0; i < QUERIES; ++i) softmax(scores + int64_t(i) * padded, tokens, scale);
            for (at = 0; at < d; at += 2 * LANES)
                multiply_rows<2>(scores, padded, value + at, row_of_three, tokens,
                                 context + int64_t(row) * h + head + at, h);
        }
}

// All layers over a few texts; `out` [tokens, hidden] and `scores` [tokens, scorers] are of all texts.
template <int BYTES>
void run(const Model& model, const Texts& texts, float* out, float* scores, Room& room) {
    const int h = model.hidden, wide = model.wide, d = h / model.heads;
    const int start = texts.bounds[0], tokens = texts.bounds[texts.count] - start, rows = up_to(tokens, ROWS);
    if (!tokens) return;
    // Attention looks at whole vectors of keys, and at QUERIES rows from any token on.
    const int64_t all_rows = rows + LANES;
    float* sums = room.sums.of(int64_t(rows) * h);
    float* projected = room.projected.of(all_rows * 3 * h);
    float* context = room.context.of(all_rows * h);
    float* part = room.part.of(int64_t(rows) * PART);
    float* scaled = room.scaled.of(h);
    auto quantised = [=](auto& own, int k) {
        uint8_t* bytes = own.bytes.of(int64_t(rows) * k * BYTES);
        return Quantised{bytes, own.step.of(rows), own.low.of(rows), rows, k};
    };
    const Quantised x = quantised(room.x, h);
    const auto add = [=](int row, int column, __m512 numbers) {
        float* own = sums + int64_t(row) * h + column;
        _mm512_store_ps(own, _mm512_add_ps(_mm512_load_ps(own), numbers));
    };
    for (int row = 0; row < tokens; ++row) {
        const float* word = static_cast<const float*>(model.words) + texts.ids[start + row] * h;
        const float* position = static_cast<const float*>(model.positions) + texts.positions[start + row] * h;
        for (int at = 0; at < h; at += LANES)
            _mm512_store_ps(sums + int64_t(row) * h + at,
                            _mm512_add_ps(_mm512_loadu_ps(word + at), _mm512_loadu_ps(position + at)));
    }
    normalise<BYTES>(sums, model.norm, model.eps, scaled, x);
    for (const Layer* layer = model.layer; layer < model.layer + model.layers; ++layer) {
        product<BYTES>(x, layer->project, 0, 0, 3 * h, [=](int row, int column, __m512 numbers) {
            _mm512_store_ps(projected + int64_t(row) * 3 * h + column, numbers);
        });
        for (int text = 0; text < texts.count; ++text) {
            const int64_t first = texts.bounds[text] - start, last = texts.bounds[text + 1] - start;
            attend(projected + first * 3 * h, last - first, h, d, context + first * h, room);
        }
        for (int row = 0; row < rows; ++row) quantise<BYTES>(context + int64_t(row) * h, x, row);
        product<BYTES>(x, layer->gather, 0, 0, h, add);
        normalise<BYTES>(sums, layer->norm, model.eps, scaled, x);
        for (int first = 0; first < wide; first += PART) {
            const int count = std::min(PART, wide - first);
            product<BYTES>(x, layer->widen, 0, first, count, [=](int row, int column, __m512 numbers) {
                _mm512_store_ps(part + int64_t(row) * PART + column - first, gelu(numbers));
            });
            const Quantised y = quantised(room.y, count);
            for (int row = 0; row < rows; ++row) quantise<BYTES>(part + int64_t(row) * PART, y, row);
            product<BYTES>(y, layer->narrow, first / PART, 0, h, add);
        }
        normalise<BYTES>(sums, layer->last_norm, model.eps, scaled, x);
    }
    for (int at = 0; at < model.scorers; ++at) {
        const Scorer& scorer = model.scorer[at];
        std::memset(part, 0, int64_t(rows) * LANES * sizeof(float));
        product<BYTES>(x, scorer.key, 0, 0, h, [=](int row, int column, __m512 numbers) {
            float* own = part + row * LANES;
            const __m512 query = _mm512_loadu_ps(scorer.query + column);
            _mm512_store_ps(own, _mm512_fmadd_ps(tanh(numbers), query, _mm512_load_ps(own)));
        });
        for (int row = 0; row < tokens; ++row)
            scores[(start + row) * model.scorers + at] =
                _mm512_reduce_add_ps(_mm512_load_ps(part + row * LANES));
    }
    std::memcpy(out + int64_t(start) * h, sums, int64_t(tokens) * h * sizeof(float));
}

struct Nothing {};
}  // namespace

// Vectors [tokens, hidden] and scores [tokens, scorers] of texts laid end to end, by so many threads, with
// numbers of one byte or of two.  Returns 0, or 1 without memory.
// The caller has seen to it that hidden and wide are multiples of 64, hidden / heads of 32, and that there is
// a row for each id and position.
extern "C" int int8_encode(
    const Model* model, const int64_t* ids, const int64_t* positions, const int32_t* bounds, int count,
    float* out, float* scores, int threads, int bytes
) {
    return by_threads<Room, Nothing>(
        {ids, positions, bounds, count}, GROUP, threads, [=](const Texts& texts, Room& room) {
            (bytes == 1 ? run<1> : run<2>)(*model, texts, out, scores, room);
        });
}
#pragma GCC pop_options

// INTERFACE; 0 where the CPU has no such instructions.
extern "C" int int8_ready() {
    const bool ready = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return ready ? INTERFACE : 0;
}
#else
extern "C" int int8_ready() { return 0; }
#endif
