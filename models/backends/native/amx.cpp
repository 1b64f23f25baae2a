// A BERT-like encoder in bfloat16 on the matrix unit (AMX) of one CPU, from token ids to vectors.  It
// computes what models/backends/packed.py computes with torch's operators, and the heads' score of each
// token.  A group of texts goes through all layers at once, and is small enough for the core's own cache.
// Sums, norms, softmax, GELU and tanh are in float32.  encoders.py calls this code.
//
// A tile of the unit has 16 rows of 64 bytes: 16 x 32 bfloat16 or 16 x 16 float32.  The memory layouts:
//   tiles       [rows, n]  tiles of 16 x 32 bfloat16, one row of tiles after the other
//   float tiles [rows, n]  the same with tiles of 16 x 16 float32
//   columns     [rows, n]  one column of 32 values after the other; 16 rows of a column are a tile
//   weights     [n, k]     for each 32 of n and each 32 of k two tiles, one for each 16 of n; row i of a
//                          tile holds the values 2i and 2i + 1 of k side by side, as the unit requires
// (Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", TDPBF16PS; Vaswani et al. 2017.)

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

// Code that runs before the CPU was checked must stay outside of this region.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")
#include "encoder.h"

namespace {
using bf16 = uint16_t;
constexpr int TILE = 16, BLOCK = 32;
constexpr int TILE_BF16 = TILE * BLOCK, TILE_FLOATS = TILE * TILE;  // values of a tile
constexpr int TILE_ROW_BYTES = 64;
// Tokens that go through all layers together, and columns of the intermediate layer that are computed
// together.  They are chosen so that everything that is read repeatedly fits into a cache of 2 MB.
constexpr int GROUP_TOKENS = 512, PART = 384;

// Eight tiles of full size.  Each thread has its own tile configuration; torch's library relies on its own.
struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
    TileConfig() { for (int tile = 0; tile < 8; ++tile) bytes[tile] = 64, rows[tile] = TILE; }
};

// Sets the tile configuration, and restores the one before at the end.  In assembly, because a compiler's
// intrinsics may not declare that all 64 bytes are read and written.
class TileConfigGuard {
    TileConfig saved;
public:
    TileConfigGuard() {
        asm volatile("sttilecfg %0" : "=m"(saved));
        const TileConfig full_size;
        asm volatile("ldtilecfg %0" : : "m"(full_size));
    }
    ~TileConfigGuard() { asm volatile("ldtilecfg %0" : : "m"(saved)); }
};

// Makes the compiler finish all stores first: its intrinsics may not declare that a tile load reads memory.
inline void compiler_barrier() { asm volatile("" : : : "memory"); }

struct Workspace {
    Buffer<bf16> x, projected, context, intermediate, keys, values, shares;
    Buffer<float> sums, scores, inverse_sums;
};

inline int round_up_to_block(int count) { return (count + BLOCK - 1) / BLOCK * BLOCK; }

inline __m512 load(const bf16* from) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16));
}

inline void store(bf16* to, __m512 low, __m512 high) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// The offset of the 32 values of a row from `column` on, in tiles [*, n].
inline int64_t tile_offset(int row, int column, int n) {
    return (int64_t(row / TILE) * (n / BLOCK) + column / BLOCK) * TILE_BF16 + row % TILE * BLOCK;
}

// The address of the 16 values of a row from `column` on, in float tiles [*, n].
inline float* sums_at(float* sums, int row, int column, int n) {
    return sums + (int64_t(row / TILE) * (n / TILE) + column / TILE) * TILE_FLOATS + row % TILE * TILE;
}

// A block of 32 x 32 float32 in four tiles: the address of the first tile, the offsets of the tiles to the
// right and below, and the bytes from one row to the next.  With a stride of 0, all rows are the same.
template <class T> struct Block { T* first; int64_t right, down, stride; };

// to = from + a b for one block.  a [32, 32 steps] is in tiles, and its lower 16 rows start `half` values
// after the upper ones.  b is in the layout of weights.  Each step calls `overlap(step)`, which can use the
// vector units while the matrix unit works, and prefetches a part of the next weights.
template <class Overlap>
inline __attribute__((always_inline)) void multiply(
    const bf16* a, int64_t half, const bf16* b, int steps, const bf16* next_weights, Block<const float> from,
    Block<float> to, Overlap&& overlap
) {
    compiler_barrier();
    _tile_loadd(0, from.first, from.stride);
    _tile_loadd(1, from.first + from.right, from.stride);
    _tile_loadd(2, from.first + from.down, from.stride);
    _tile_loadd(3, from.first + from.down + from.right, from.stride);
#pragma GCC unroll 1
    for (int step = 0; step < steps; ++step) {
        _tile_loadd(6, b, 64);
        _tile_loadd(4, a, 64);
        _tile_loadd(7, b + TILE_BF16, 64);
        _tile_loadd(5, a + half, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _mm_prefetch(next_weights, _MM_HINT_T1);
        _mm_prefetch(next_weights + 32, _MM_HINT_T1);
        a += TILE_BF16, b += 2 * TILE_BF16, next_weights += 64;
        overlap(step);
    }
    _tile_stored(0, to.first, to.stride);
    _tile_stored(1, to.first + to.right, to.stride);
    _tile_stored(2, to.first + to.down, to.stride);
    _tile_stored(3, to.first + to.down + to.right, to.stride);
}

// a W' + bias, n columns from `first` on; a [rows, k] is in tiles.  `consume(row, column, left, right)` gets
// 32 values of a row.  The vector units consume a block while the matrix unit multiplies the next one.
template <class Consume>
void multiply_with_bias(
    const bf16* a, int rows, int k, const Product& product, int first, int n, Consume consume
) {
    alignas(64) float blocks[2][4 * TILE_FLOATS];
    const int steps = k / BLOCK, rows_per_step = (BLOCK + steps - 1) / steps;
    int current = 0, last_row = -1, last_column = 0;
    auto finish = [&](const float* block, int first_row, int end_row) {
        for (int row = first_row; row < end_row; ++row) {
            const float* left = block + row / TILE * 2 * TILE_FLOATS + row % TILE * TILE;
            consume(last_row + row, last_column, _mm512_load_ps(left), _mm512_load_ps(left + TILE_FLOATS));
        }
    };
    for (int column = 0; column < n; column += BLOCK) {
        const bf16* weights =
            static_cast<const bf16*>(product.weights) +
            int64_t(first + column) / BLOCK * steps * 2 * TILE_BF16;
        const bf16* next_weights = weights + steps * 2 * TILE_BF16;
        const Block<const float> bias{product.bias + first + column, TILE, 0, 0};
        for (int row = 0; row < rows; row += BLOCK) {
            const float* previous = blocks[1 - current];
            multiply(a + int64_t(row) * k, int64_t(k) * TILE, weights, steps, next_weights, bias,
                     Block<float>{blocks[current], TILE_FLOATS, 2 * TILE_FLOATS, 64}, [&](int step) {
                         if (last_row >= 0)
                             finish(previous, step * rows_per_step,
                                    std::min(BLOCK, (step + 1) * rows_per_step));
                     });
            next_weights += steps * 64;
            last_row = row, last_column = column, current = 1 - current;
        }
    }
    finish(blocks[1 - current], 0, BLOCK);
}

// sums [rows, n] += a W'.  a [rows, k] is in tiles, sums in float tiles.  Of the weights [n, all_columns], it
// takes k columns from `first` on.
void accumulate(
    const bf16* a, int rows, int k, const Product& product, int first, int all_columns, int n, float* sums
) {
    const int steps = k / BLOCK;
    const int64_t panel_size = int64_t(all_columns) / BLOCK * 2 * TILE_BF16, down = int64_t(n) * TILE;
    for (int column = 0; column < n; column += BLOCK) {
        const bf16* weights =
            static_cast<const bf16*>(product.weights) + column / BLOCK * panel_size +
            first / BLOCK * 2 * TILE_BF16;
        const bf16* next_weights = weights + panel_size;
        for (int row = 0; row < rows; row += BLOCK) {
            float* block = sums_at(sums, row, column, n);
            const Block<const float> from{block, TILE_FLOATS, down, 64};
            const Block<float> to{block, TILE_FLOATS, down, 64};
            multiply(a + int64_t(row) * k, int64_t(k) * TILE, weights, steps, next_weights, from, to,
                     [](int) {});
            next_weights += steps * 64;
        }
    }
}

// x = the layer norm of each row of sums; x [rows, n] is in tiles.  Afterwards sums holds x plus the bias of
// the next product that is accumulated there.  (Ba et al. 2016.)
void normalise(float* sums, const Norm& norm, const float* next_bias, float eps, int rows, int n, bf16* x) {
    for (int row = 0; row < rows; ++row) {
        float* row_sums = sums_at(sums, row, 0, n);
        const Moments row_moments = moments(row_sums, TILE_FLOATS, n, eps);
        auto normalise_at = [&](int at) {
            const __m512 centred = _mm512_sub_ps(_mm512_load_ps(row_sums + at * TILE), row_moments.mean);
            const __m512 scaled = _mm512_mul_ps(centred, row_moments.scale);
            const __m512 weight = _mm512_loadu_ps(norm.weight + at);
            const __m512 normalised = _mm512_fmadd_ps(scaled, weight, _mm512_loadu_ps(norm.bias + at));
            _mm512_store_ps(row_sums + at * TILE, _mm512_add_ps(normalised, _mm512_loadu_ps(next_bias + at)));
            return normalised;
        };
        for (int at = 0; at < n; at += BLOCK)
            store(x + tile_offset(row, at, n), normalise_at(at), normalise_at(at + TILE));
    }
}

// Rearranges 32 rows of 32 values into the two tiles of the right-hand side of a product.  Rows from `rows`
// on become zeros.
inline void to_right_hand_tiles(const bf16* from, int rows, bf16* to) {
    auto half_row = [=](int row, int column) {
        if (row >= rows) return _mm512_setzero_si512();
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(from + row * BLOCK + column)));
    };
    for (int column = 0; column < BLOCK; column += TILE)
        for (int row = 0; row < BLOCK; row += 2) {
            const __m512i odd_row = _mm512_slli_epi32(half_row(row + 1, column), 16);
            const __m512i pairs = _mm512_or_si512(half_row(row, column), odd_row);
            _mm512_store_si512(to + column / TILE * TILE_BF16 + row * TILE, pairs);
        }
}

// shares = 2^(scaled score - highest one) for each key, then zeros up to a whole block.  Returns 1 / their sum.
// `bias` is null or holds a value for each key, up to a whole block.  Changes the scores.
inline float softmax(float* scores, int keys, __m512 scale, const float* bias, bf16* shares) {
    const int full_blocks = keys / BLOCK * BLOCK;
    const __mmask16 left_mask = lane_mask(keys - full_blocks);
    const __mmask16 right_mask = lane_mask(keys - full_blocks - TILE);
    __m512 highest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    auto scaled = [&](int at) {
        const __m512 values = scale_scores(_mm512_load_ps(scores + at), scale, bias ? bias + at : nullptr);
        _mm512_store_ps(scores + at, values);
        return values;
    };
    for (int at = 0; at < full_blocks; at += TILE) highest = _mm512_max_ps(highest, scaled(at));
    if (full_blocks < keys) {
        highest = _mm512_mask_max_ps(highest, left_mask, highest, scaled(full_blocks));
        highest = _mm512_mask_max_ps(highest, right_mask, highest, scaled(full_blocks + TILE));
    }
    highest = _mm512_set1_ps(_mm512_reduce_max_ps(highest));
    auto share = [&](int at) { return power_of_two(_mm512_sub_ps(_mm512_load_ps(scores + at), highest)); };
    auto add = [&](int at, __m512 left, __m512 right) {
        sum = _mm512_add_ps(sum, _mm512_add_ps(left, right));
        store(shares + at, left, right);
    };
    for (int at = 0; at < full_blocks; at += BLOCK) add(at, share(at), share(at + TILE));
    if (full_blocks < keys)
        add(full_blocks, _mm512_maskz_mov_ps(left_mask, share(full_blocks)),
            _mm512_maskz_mov_ps(right_mask, share(full_blocks + TILE)));
    return 1.0f / _mm512_reduce_add_ps(sum);
}

// to = a b for 16 rows of a and 32 columns of b, over `steps` times 32 values.
inline void multiply_rows(
    const bf16* a, int64_t a_stride, int64_t a_step, const bf16* b, int64_t b_step, int steps, float* to,
    int64_t to_stride
) {
    compiler_barrier();
    _tile_zero(0);
    _tile_zero(1);
    for (int step = 0; step < steps; ++step, a += a_step, b += b_step) {
        _tile_loadd(4, a, a_stride * sizeof(bf16));
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + TILE_BF16, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, to, to_stride * sizeof(float));
    _tile_stored(1, to + TILE, to_stride * sizeof(float));
}

// Attention within one text, which has `tokens` rows from `first` on.  projected [rows, 3 h] is in columns:
// queries, then keys, then values.  context [*, h] is in tiles.  Takes 16 queries at a time, and in each step
// all heads, because the steps of one head depend on each other.
void attend(
    const Model& model, const bf16* projected, int64_t rows, int first, int tokens, bf16* context,
    Workspace& workspace
) {
    const int h = model.hidden_size, heads = model.heads, d = h / heads;
    const int padded = round_up_to_block(tokens);
    const int columns = h / BLOCK, columns_per_head = d / BLOCK;
    const int64_t column_size = rows * BLOCK, key_column_size = int64_t(padded) * BLOCK;
    const int64_t head_size = int64_t(TILE) * padded;
    const bf16* query = projected + int64_t(first) * BLOCK;
    const bf16 *key = query + columns * column_size, *value = key + columns * column_size;
    bf16* keys = workspace.keys.reserve(columns * key_column_size);
    bf16* values = workspace.values.reserve(columns * key_column_size);
    bf16* shares = workspace.shares.reserve(heads * head_size);
    float* scores = workspace.scores.reserve(std::max(heads * head_size, int64_t(columns) * TILE_BF16));
    float* inverse_sums = workspace.inverse_sums.reserve(heads * TILE);
    for (int column = 0; column < columns; ++column)
        for (int at = 0; at < padded * BLOCK; at += BLOCK * BLOCK) {
            const int64_t from = column * column_size + at, to = column * key_column_size + at;
            transpose(key + from, TILE_ROW_BYTES, keys + to, TILE_ROW_BYTES);
            transpose(key + from + TILE_BF16, TILE_ROW_BYTES, keys + to + TILE_BF16, TILE_ROW_BYTES);
            to_right_hand_tiles(value + from, tokens - at / BLOCK, values + to);
        }
    const __m512 scale = _mm512_set1_ps(float(M_LOG2E) / std::sqrt(float(d)));
    for (int row = 0; row < tokens; row += TILE) {
        const int queries = std::min(TILE, tokens - row);
        for (int head = 0; head < heads; ++head)
            for (int at = 0; at < padded; at += BLOCK) {
                const int64_t column = head * columns_per_head;
                multiply_rows(query + column * column_size + row * BLOCK, BLOCK, column_size,
                              keys + column * key_column_size + at * BLOCK, key_column_size, columns_per_head,
                              scores + head * head_size + at, padded);
            }
        for (int head = 0; head < heads; ++head)
            for (int at = 0; at < queries; ++at) {
                const int64_t offset = head * head_size + at * padded;
                inverse_sums[head * TILE + at] =
                    softmax(scores + offset, tokens, scale, bias_of(model, head, row + at), shares + offset);
            }
        for (int column = 0; column < columns; ++column)
            multiply_rows(shares + column / columns_per_head * head_size, padded, BLOCK,
                          values + column * key_column_size, BLOCK * BLOCK, padded / BLOCK,
                          scores + column * TILE_BF16, BLOCK);
        for (int column = 0; column < columns; ++column)
            for (int at = 0; at < queries; ++at) {
                const float* unscaled = scores + column * TILE_BF16 + at * BLOCK;
                const __m512 factor = _mm512_set1_ps(inverse_sums[column / columns_per_head * TILE + at]);
                bf16* to = context + tile_offset(first + row + at, column * BLOCK, h);
                store(to, _mm512_mul_ps(factor, _mm512_load_ps(unscaled)),
                      _mm512_mul_ps(factor, _mm512_load_ps(unscaled + TILE)));
            }
    }
}

// Runs all layers over a group of texts.  `out` [tokens, hidden] and `scores` [tokens, scorers] cover all
// texts.
void run(const Model& model, const Texts& texts, bf16* out, float* scores, Workspace& workspace) {
    const int h = model.hidden_size, intermediate_size = model.intermediate_size;
    const int start = texts.bounds[0], tokens = texts.bounds[texts.count] - start;
    const int rows = round_up_to_block(tokens);
    if (!tokens) return;
    // Attention reads whole blocks from any token on.
    const int64_t all_rows = rows + BLOCK;
    bf16* x = workspace.x.reserve(int64_t(rows) * h);
    bf16* projected = workspace.projected.reserve(all_rows * 3 * h);
    bf16* context = workspace.context.reserve(int64_t(rows) * h);
    bf16* intermediate = workspace.intermediate.reserve(int64_t(rows) * PART);
    float* sums = workspace.sums.reserve(int64_t(rows) * h);
    for (int row = 0; row < tokens; ++row) {
        const bf16* embedding = static_cast<const bf16*>(model.word_embeddings) + texts.ids[start + row] * h;
        const bf16* position =
            static_cast<const bf16*>(model.position_embeddings) + texts.positions[start + row] * h;
        for (int i = 0; i < h; i += TILE)
            _mm512_store_ps(sums_at(sums, row, i, h), _mm512_add_ps(load(embedding + i), load(position + i)));
    }
    normalise(sums, model.embedding_norm, model.layers->attention_output.bias, model.eps, rows, h, x);
    for (const Layer* layer = model.layers; layer < model.layers + model.layer_count; ++layer) {
        const Layer* next = layer + 1 < model.layers + model.layer_count ? layer + 1 : layer;
        multiply_with_bias(x, rows, h, layer->qkv, 0, 3 * h,
                           [=](int row, int column, __m512 left, __m512 right) {
                               store(projected + (column / BLOCK * all_rows + row) * BLOCK, left, right);
                           });
        for (int text = 0; text < texts.count; ++text) {
            const int32_t* bounds = texts.bounds + text;
            attend(model, projected, all_rows, bounds[0] - start, bounds[1] - bounds[0], context, workspace);
        }
        accumulate(context, rows, h, layer->attention_output, 0, h, h, sums);
        normalise(sums, layer->attention_norm, layer->output.bias, model.eps, rows, h, x);
        for (int first = 0; first < intermediate_size; first += PART) {
            const int columns = std::min(PART, intermediate_size - first);
            const auto store_gelu = [=](int row, int column, __m512 left, __m512 right) {
                store(intermediate + tile_offset(row, column, columns), gelu(left), gelu(right));
            };
            multiply_with_bias(x, rows, h, layer->intermediate, first, columns, store_gelu);
            accumulate(intermediate, rows, columns, layer->output, first, intermediate_size, h, sums);
        }
        normalise(sums, layer->output_norm, next->attention_output.bias, model.eps, rows, h, x);
    }
    for (int i = 0; i < model.scorer_count; ++i) {
        const Scorer& scorer = model.scorers[i];
        std::memset(sums, 0, int64_t(rows) * TILE * sizeof(float));
        multiply_with_bias(x, rows, h, scorer.key, 0, h, [=](int row, int column, __m512 left, __m512 right) {
            const __m512 sum = _mm512_load_ps(sums + row * TILE);
            const __m512 half_sum = _mm512_fmadd_ps(tanh(left), _mm512_loadu_ps(scorer.query + column), sum);
            const float* query = scorer.query + column + TILE;
            _mm512_store_ps(sums + row * TILE,
                            _mm512_fmadd_ps(tanh(right), _mm512_loadu_ps(query), half_sum));
        });
        for (int row = 0; row < tokens; ++row)
            scores[(start + row) * model.scorer_count + i] =
                _mm512_reduce_add_ps(_mm512_load_ps(sums + row * TILE));
    }
    for (int row = 0; row < tokens; ++row)
        for (int i = 0; i < h; i += BLOCK)
            std::memcpy(out + int64_t(start + row) * h + i, x + tile_offset(row, i, h), BLOCK * sizeof(bf16));
}

}  // namespace

// Writes the vectors `out` [tokens, hidden] and the `scores` [tokens, scorers] of concatenated texts, in up
// to `threads` threads.  Returns 0, or 1 if there is not enough memory.  The caller makes sure that the
// hidden size, the intermediate size and the size of a head are multiples of 32, and that the embeddings have
// a row for each id and position.
extern "C" int amx_encode(
    const Model* model, const int64_t* ids, const int64_t* positions, const int32_t* bounds, int count,
    bf16* out, float* scores, int threads
) {
    return run_in_threads<Workspace, TileConfigGuard>(
        {ids, positions, bounds, count}, GROUP_TOKENS, threads,
        [=](const Texts& texts, Workspace& workspace) { run(*model, texts, out, scores, workspace); });
}
#pragma GCC pop_options

// Returns INTERFACE, or 0 if the CPU has no AMX or the system does not permit its use.
extern "C" int amx_ready() {
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    const bool ready = __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512bf16") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("avx512dq") &&
                       syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return ready ? INTERFACE : 0;
}
#else
extern "C" int amx_ready() { return 0; }
#endif
