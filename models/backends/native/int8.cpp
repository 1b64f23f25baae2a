// A BERT-like encoder in 8-bit integers on AVX-512 VNNI (Intel's server CPUs since 2019, AMD's since 2022),
// from token ids to vectors, and the heads' score of each token.  It is for CPUs without the matrix unit that
// amx.cpp uses.  encoders.py calls this code.
//
// Weights [n, k] have one scale for each row of n.  Each row x that they are multiplied with is quantised
// between its own minimum and maximum (Jacob et al. 2018): x = low + step q with q from 0 to 255, so
//   x W' = step scale (q W8') + low (scale sum(W8))
// Only the product of the integers is not in float32.  Sums, norms, attention and GELU are.  Where 8 bits are
// too coarse, q goes up to 65535, and its two bytes are multiplied one after the other.
//
// In memory, the weights are panels of 64 rows of n.  A panel holds, for every 4 of k, 64 times 4 bytes.
// `scale` [n] are the scales of the weights, and `sum` [n] their sums times the scale.  Weights that are
// multiplied with the intermediate layer have a sum for each PART of k, [k / PART, n].

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>

// Code that runs before the CPU was checked must stay outside of this region.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include "encoder.h"

namespace {
// Values of a vector, rows of a panel, vectors of a panel, and values of k that one instruction multiplies.
constexpr int LANES = 16, PANEL = 64, VECTORS = PANEL / LANES, STEP = 4;
// Rows that are multiplied together: their sums fill the vector registers.
constexpr int ROWS = 6;
// Tokens that go through all layers together, and columns of the intermediate layer that are quantised
// together.  They are chosen so that everything that is read repeatedly fits into a cache of 2 MB.
constexpr int GROUP_TOKENS = 384, PART = 256;
// Queries of one head that are processed together.
constexpr int QUERIES = 4;

// Quantised rows of k values, each with its step and minimum.  With two bytes a value, the low bytes of all
// rows follow the high bytes of all rows.
struct Quantised {
    uint8_t* bytes;
    float *step, *low;
    int rows, k;
};

struct Workspace {
    Buffer<float> sums, projected, context, part, keys, scores, scaled;
    struct { Buffer<uint8_t> bytes; Buffer<float> step, low; } x, y;
};

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Quantises a row to BYTES bytes a value.
template <int BYTES> inline void quantise(const float* x, const Quantised& to, int row) {
    __m512 minimum = _mm512_load_ps(x), maximum = minimum, zero_or_nan = _mm512_setzero_ps();
    for (int i = 0; i < to.k; i += LANES) {
        const __m512 values = _mm512_load_ps(x + i);
        minimum = _mm512_min_ps(minimum, values);
        maximum = _mm512_max_ps(maximum, values);
        // 0 times infinity or NaN is NaN: one such value makes the whole row NaN.
        zero_or_nan = _mm512_fmadd_ps(values, _mm512_setzero_ps(), zero_or_nan);
    }
    const bool finite = !_mm512_cmp_ps_mask(zero_or_nan, zero_or_nan, _CMP_UNORD_Q);
    const float low = _mm512_reduce_min_ps(minimum), range = _mm512_reduce_max_ps(maximum) - low;
    constexpr float MAX_Q = BYTES == 1 ? 255.0f : 65535.0f;
    to.low[row] = finite ? low : NAN;
    to.step[row] = range / MAX_Q;
    const __m512 inverse_step = _mm512_set1_ps(range > 0 ? MAX_Q / range : 0.0f);
    const __m512 minimums = _mm512_set1_ps(low);
    uint8_t* high_bytes = to.bytes + int64_t(row) * to.k;
    uint8_t* low_bytes = high_bytes + int64_t(to.rows) * to.k;
    for (int i = 0; i < to.k; i += LANES) {
        const __m512 above_minimum = _mm512_sub_ps(_mm512_load_ps(x + i), minimums);
        const __m512i q = _mm512_cvtps_epu32(_mm512_mul_ps(above_minimum, inverse_step));
        auto store_bytes = [=](uint8_t* bytes, __m512i values) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + i), _mm512_cvtepi32_epi8(values));
        };
        store_bytes(high_bytes, BYTES == 2 ? _mm512_srli_epi32(q, 8) : q);
        if (BYTES == 2) store_bytes(low_bytes, q);
    }
}

// sums += values times weights, four bytes each.  In assembly, because with the intrinsic a compiler moves
// the sums between registers and stores them.
inline void add_products(__m512i& sums, __m512i values, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(values), "v"(weights));
}

// products [ROWS, PANEL] = a b, over `steps` times 4 of k.  The rows of a are `stride` bytes apart; b is a
// panel.
inline __attribute__((always_inline)) void multiply(
    const uint8_t* a, int64_t stride, const int8_t* b, int steps, __m512i (&products)[ROWS][VECTORS]
) {
    __m512i sums[ROWS][VECTORS] = {};
#pragma GCC unroll 1
    for (int step = 0; step < steps; ++step, a += STEP, b += PANEL * STEP) {
        __m512i weights[VECTORS];
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; ++vector) weights[vector] = _mm512_load_si512(b + vector * 64);
#pragma GCC unroll 6
        for (int row = 0; row < ROWS; ++row) {
            int32_t four_bytes;
            std::memcpy(&four_bytes, a + row * stride, sizeof four_bytes);
            const __m512i values = _mm512_set1_epi32(four_bytes);
#pragma GCC unroll 4
            for (int vector = 0; vector < VECTORS; ++vector)
                add_products(sums[row][vector], values, weights[vector]);
        }
    }
#pragma GCC unroll 6
    for (int row = 0; row < ROWS; ++row)
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; ++vector) products[row][vector] = sums[row][vector];
}

// x W' + bias, `count` columns from `first` on.  If x holds only the columns of one part of k, this is the
// part's contribution, and only part 0 adds the bias.  `consume(row, column, values)` gets 16 values of a
// row.
template <int BYTES, class Consume>
void multiply_with_bias(
    const Quantised& x, const Product& product, int part, int first, int count, Consume consume
) {
    const float *sum = product.sum + part * product.n, *scale = product.scale, *bias = product.bias;
    const float *steps = x.step, *lows = x.low;
    for (int column = first; column < first + count; column += PANEL) {
        const int8_t* weights =
            static_cast<const int8_t*>(product.weights) + column * product.k + int64_t(part) * PART * PANEL;
        // Prefetch the next panel meanwhile.
        const char* next_panel = reinterpret_cast<const char*>(weights + PANEL * product.k);
        const int lines_per_row = (x.k * PANEL / 64 + x.rows / ROWS - 1) / (x.rows / ROWS);
        for (int row = 0; row < x.rows; row += ROWS) {
            for (int line = 0; line < lines_per_row; ++line, next_panel += 64)
                _mm_prefetch(next_panel, _MM_HINT_T1);
            const uint8_t* bytes = x.bytes + int64_t(row) * x.k;
            __m512i sums[ROWS][VECTORS];
            __m512 high_sums[ROWS][VECTORS];
            if (BYTES == 2) {
                multiply(bytes, x.k, weights, x.k / STEP, sums);
                for (int i = 0; i < ROWS; ++i)
                    for (int vector = 0; vector < VECTORS; ++vector)
                        high_sums[i][vector] =
                            _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][vector]), _mm512_set1_ps(256.0f));
                bytes += int64_t(x.rows) * x.k;
            }
            multiply(bytes, x.k, weights, x.k / STEP, sums);
#pragma GCC unroll 6
            for (int i = 0; i < ROWS; ++i) {
                const __m512 step = _mm512_set1_ps(steps[row + i]), low = _mm512_set1_ps(lows[row + i]);
#pragma GCC unroll 4
                for (int vector = 0; vector < VECTORS; ++vector) {
                    const int lane = column + vector * LANES;
                    __m512 total = _mm512_cvtepi32_ps(sums[i][vector]);
                    if (BYTES == 2) total = _mm512_add_ps(total, high_sums[i][vector]);
                    const __m512 added_bias = part ? _mm512_setzero_ps() : _mm512_loadu_ps(bias + lane);
                    const __m512 offset = _mm512_fmadd_ps(low, _mm512_loadu_ps(sum + lane), added_bias);
                    total = _mm512_mul_ps(total, step);
                    consume(row + i, lane, _mm512_fmadd_ps(total, _mm512_loadu_ps(scale + lane), offset));
                }
            }
        }
    }
}

// sums = the layer norm of each row of sums [rows, n].  `to` gets the same without the norm's bias,
// quantised: the bias of the products with it includes that.  (Ba et al. 2016.)
template <int BYTES>
void normalise(float* sums, const Norm& norm, float eps, float* scaled, const Quantised& to) {
    const int n = to.k;
    for (int row = 0; row < to.rows; ++row) {
        float* row_sums = sums + int64_t(row) * n;
        const auto [mean, scale] = moments(row_sums, LANES, n, eps);
        for (int i = 0; i < n; i += LANES) {
            const __m512 centred = _mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(row_sums + i), mean), scale);
            const __m512 without_bias = _mm512_mul_ps(centred, _mm512_loadu_ps(norm.weight + i));
            _mm512_store_ps(scaled + i, without_bias);
            _mm512_store_ps(row_sums + i, _mm512_add_ps(without_bias, _mm512_loadu_ps(norm.bias + i)));
        }
        quantise<BYTES>(scaled, to, row);
    }
}

// to [QUERIES, 16 VECTORS] = a b over k.  `a_row`, `b_row` and `to_row` are the distances between rows, in
// values.
template <int VECTORS> inline __attribute__((always_inline)) void multiply_rows(
    const float* a, int64_t a_row, const float* b, int64_t b_row, int k, float* to, int64_t to_row
) {
    __m512 sums[QUERIES][VECTORS] = {};
#pragma GCC unroll 1
    for (int step = 0; step < k; ++step, ++a, b += b_row)
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; ++vector) {
            const __m512 right = _mm512_loadu_ps(b + vector * LANES);
#pragma GCC unroll 4
            for (int row = 0; row < QUERIES; ++row)
                sums[row][vector] = _mm512_fmadd_ps(_mm512_set1_ps(a[row * a_row]), right, sums[row][vector]);
        }
#pragma GCC unroll 4
    for (int row = 0; row < QUERIES; ++row)
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; ++vector)
            _mm512_storeu_ps(to + row * to_row + vector * LANES, sums[row][vector]);
}

// Replaces the score of each key by its share: 2^(scaled score - highest one), divided by the sum of all.
// `bias` is null or holds a value for each key, up to a whole vector.
inline void softmax(float* scores, int keys, __m512 scale, const float* bias) {
    __m512 highest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int at = 0; at < keys; at += LANES) {
        const __m512 scaled = scale_scores(_mm512_load_ps(scores + at), scale, bias ? bias + at : nullptr);
        _mm512_store_ps(scores + at, scaled);
        highest = _mm512_mask_max_ps(highest, lane_mask(keys - at), highest, scaled);
    }
    highest = _mm512_set1_ps(_mm512_reduce_max_ps(highest));
    for (int at = 0; at < keys; at += LANES) {
        const __m512 share = power_of_two(_mm512_sub_ps(_mm512_load_ps(scores + at), highest));
        const __m512 masked = _mm512_maskz_mov_ps(lane_mask(keys - at), share);
        _mm512_store_ps(scores + at, masked);
        sum = _mm512_add_ps(sum, masked);
    }
    const __m512 inverse_sum = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (int at = 0; at < keys; at += LANES)
        _mm512_store_ps(scores + at, _mm512_mul_ps(_mm512_load_ps(scores + at), inverse_sum));
}

// Attention within one text.  projected [tokens, 3 h] holds queries, keys and values; context is [tokens, h].
// It reads beyond the end of the text, where there is memory, and ignores those results.
void attend(const Model& model, const float* projected, int tokens, float* context, Workspace& workspace) {
    const int h = model.hidden_size, d = h / model.heads;
    const int padded = round_up(tokens, LANES), projected_row = 3 * h;
    float* keys = workspace.keys.reserve(int64_t(h) * padded);
    float* scores = workspace.scores.reserve(int64_t(QUERIES) * padded);
    for (int at = 0; at < h; at += LANES)
        for (int token = 0; token < padded; token += LANES)
            transpose(projected + int64_t(token) * projected_row + h + at, projected_row * sizeof(float),
                      keys + int64_t(at) * padded + token, padded * sizeof(float));
    const __m512 scale = _mm512_set1_ps(float(M_LOG2E) / std::sqrt(float(d)));
    for (int head = 0; head < model.heads; ++head)
        for (int row = 0; row < tokens; row += QUERIES) {
            const float* query = projected + int64_t(row) * projected_row + head * d;
            const float *key = keys + int64_t(head) * d * padded, *value = projected + 2 * h + head * d;
            int at = 0;
            for (; at + 2 * LANES <= padded; at += 2 * LANES)
                multiply_rows<2>(query, projected_row, key + at, padded, d, scores + at, padded);
            if (at < padded) multiply_rows<1>(query, projected_row, key + at, padded, d, scores + at, padded);
            for (int i = 0; i < QUERIES; ++i)
                softmax(scores + int64_t(i) * padded, tokens, scale, bias_of(model, head, row + i));
            for (at = 0; at < d; at += 2 * LANES)
                multiply_rows<2>(scores, padded, value + at, projected_row, tokens,
                                 context + int64_t(row) * h + head * d + at, h);
        }
}

// Runs all layers over a group of texts.  `out` [tokens, hidden] and `scores` [tokens, scorers] cover all
// texts.
template <int BYTES>
void run(const Model& model, const Texts& texts, float* out, float* scores, Workspace& workspace) {
    const int h = model.hidden_size, intermediate_size = model.intermediate_size;
    const int start = texts.bounds[0], tokens = texts.bounds[texts.count] - start;
    const int rows = round_up(tokens, ROWS);
    if (!tokens) return;
    // Attention reads whole vectors of keys, and QUERIES rows from any token on.
    const int64_t all_rows = rows + LANES;
    float* sums = workspace.sums.reserve(int64_t(rows) * h);
    float* projected = workspace.projected.reserve(all_rows * 3 * h);
    float* context = workspace.context.reserve(all_rows * h);
    float* part = workspace.part.reserve(int64_t(rows) * PART);
    float* scaled = workspace.scaled.reserve(h);
    auto quantised = [=](auto& buffers, int k) {
        uint8_t* bytes = buffers.bytes.reserve(int64_t(rows) * k * BYTES);
        return Quantised{bytes, buffers.step.reserve(rows), buffers.low.reserve(rows), rows, k};
    };
    const Quantised x = quantised(workspace.x, h);
    const auto add = [=](int row, int column, __m512 values) {
        float* row_sums = sums + int64_t(row) * h + column;
        _mm512_store_ps(row_sums, _mm512_add_ps(_mm512_load_ps(row_sums), values));
    };
    for (int row = 0; row < tokens; ++row) {
        const float* embedding =
            static_cast<const float*>(model.word_embeddings) + texts.ids[start + row] * h;
        const float* position =
            static_cast<const float*>(model.position_embeddings) + texts.positions[start + row] * h;
        for (int i = 0; i < h; i += LANES)
            _mm512_store_ps(sums + int64_t(row) * h + i,
                            _mm512_add_ps(_mm512_loadu_ps(embedding + i), _mm512_loadu_ps(position + i)));
    }
    normalise<BYTES>(sums, model.embedding_norm, model.eps, scaled, x);
    for (const Layer* layer = model.layers; layer < model.layers + model.layer_count; ++layer) {
        multiply_with_bias<BYTES>(x, layer->qkv, 0, 0, 3 * h, [=](int row, int column, __m512 values) {
            _mm512_store_ps(projected + int64_t(row) * 3 * h + column, values);
        });
        for (int text = 0; text < texts.count; ++text) {
            const int64_t first = texts.bounds[text] - start, last = texts.bounds[text + 1] - start;
            attend(model, projected + first * 3 * h, last - first, context + first * h, workspace);
        }
        for (int row = 0; row < rows; ++row) quantise<BYTES>(context + int64_t(row) * h, x, row);
        multiply_with_bias<BYTES>(x, layer->attention_output, 0, 0, h, add);
        normalise<BYTES>(sums, layer->attention_norm, model.eps, scaled, x);
        for (int first = 0; first < intermediate_size; first += PART) {
            const int columns = std::min(PART, intermediate_size - first);
            multiply_with_bias<BYTES>(
                x, layer->intermediate, 0, first, columns, [=](int row, int column, __m512 values) {
                    _mm512_store_ps(part + int64_t(row) * PART + column - first, gelu(values));
                });
            const Quantised y = quantised(workspace.y, columns);
            for (int row = 0; row < rows; ++row) quantise<BYTES>(part + int64_t(row) * PART, y, row);
            multiply_with_bias<BYTES>(y, layer->output, first / PART, 0, h, add);
        }
        normalise<BYTES>(sums, layer->output_norm, model.eps, scaled, x);
    }
    for (int i = 0; i < model.scorer_count; ++i) {
        const Scorer& scorer = model.scorers[i];
        std::memset(part, 0, int64_t(rows) * LANES * sizeof(float));
        multiply_with_bias<BYTES>(x, scorer.key, 0, 0, h, [=](int row, int column, __m512 values) {
            float* row_sums = part + row * LANES;
            const __m512 query = _mm512_loadu_ps(scorer.query + column);
            _mm512_store_ps(row_sums, _mm512_fmadd_ps(tanh(values), query, _mm512_load_ps(row_sums)));
        });
        for (int row = 0; row < tokens; ++row)
            scores[(start + row) * model.scorer_count + i] =
                _mm512_reduce_add_ps(_mm512_load_ps(part + row * LANES));
    }
    std::memcpy(out + int64_t(start) * h, sums, int64_t(tokens) * h * sizeof(float));
}

struct NoGuard {};
}  // namespace

// Writes the vectors `out` [tokens, hidden] and the `scores` [tokens, scorers] of concatenated texts, in up
// to `threads` threads.  Activations have `bytes` bytes, 1 or 2.  Returns 0, or 1 if there is not enough
// memory.  The caller makes sure that the hidden and the intermediate size are multiples of 64, that the size
// of a head is a multiple of 32, and that the embeddings have a row for each id and position.
extern "C" int int8_encode(
    const Model* model, const int64_t* ids, const int64_t* positions, const int32_t* bounds, int count,
    float* out, float* scores, int threads, int bytes
) {
    return run_in_threads<Workspace, NoGuard>(
        {ids, positions, bounds, count}, GROUP_TOKENS, threads,
        [=](const Texts& texts, Workspace& workspace) {
            (bytes == 1 ? run<1> : run<2>)(*model, texts, out, scores, workspace);
        });
}
#pragma GCC pop_options

// Returns INTERFACE, or 0 if the CPU does not have these instructions.
extern "C" int int8_ready() {
    const bool ready = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return ready ? INTERFACE : 0;
}
#else
extern "C" int int8_ready() { return 0; }
#endif
