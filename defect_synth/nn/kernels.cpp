// Convolutions and resampling on channels-last maps, for processors whose 3x3 convolutions are limited by arithmetic.
//
// Two bilinear algorithms (Winograd 1980, Toom-Cook) have the same form. Along each axis a tile d of the input and the
// filter g give the output tile A [(G g) * (B d)], where * is the product of elements. In two dimensions this is done
// along both axes, and summed over input channels the product is one matrix product for each point:
//
//   same  3 taps, stride 1        6 points for  4 outputs (12 products otherwise)
//   down  3 taps, stride 2        5 points for  2 outputs (6)
//
// The order of the sums of an output tile depends on that tile alone, not on the number of threads or on the batch. The
// file is compiled by native.py on the machine that runs it; vectors are extensions of GCC.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define ROWS 12
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define ROWS 6
#else
#define VECTOR_BYTES 16
#define ROWS 4
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

using Index = std::int64_t;

template <typename T>
struct Vector;
template <>
struct Vector<float> {
    typedef float type __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
};
template <>
struct Vector<double> {
    typedef double type __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
};
template <typename T>
using V = typename Vector<T>::type;
template <typename T>
constexpr Index LANES = VECTOR_BYTES / sizeof(T);

template <typename T>
INLINE V<T> load(const T* p) { return *reinterpret_cast<const V<T>*>(p); }
template <typename T>
INLINE void store(T* p, V<T> v) { *reinterpret_cast<V<T>*>(p) = v; }
template <typename T>
INLINE V<T> all(T value) { return V<T>{} + value; }

// Working memory of a thread, reused from call to call.
struct Scratch {
    void* data = nullptr;
    std::size_t size = 0;
    ~Scratch() { std::free(data); }
    template <typename T>
    T* get(Index count) {
        const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + 255) / 256 * 256 + 256;
        if (bytes > size) {
            std::free(data);
            data = std::aligned_alloc(256, bytes);
            size = data ? bytes : 0;
            if (!data) throw std::bad_alloc();
        }
        return static_cast<T*>(data);
    }
};
thread_local Scratch scratch_in, scratch_out;

// ---- the algorithms ----

struct Same {
    static constexpr int P = 6, IN = 6, OUT = 4, STEP_IN = 4, STEP_OUT = 4, OFFSET = -1;
    static constexpr double G[6][3] = {
        {1.0 / 4, 0, 0}, {-1.0 / 6, -1.0 / 6, -1.0 / 6}, {-1.0 / 6, 1.0 / 6, -1.0 / 6},
        {1.0 / 24, 1.0 / 12, 1.0 / 6}, {1.0 / 24, -1.0 / 12, 1.0 / 6}, {0, 0, 1}};
    static constexpr double B[6][6] = {{4, 0, -5, 0, 1, 0}, {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                                       {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
    static constexpr double A[4][6] = {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};
};

// A filter with stride 2 separates into w0 x[2i] + w2 x[2i + 2] (2 outputs from 3 points) and w1 x[2i + 1]. It is used for
// gradients of filters only: for maps, the sums over channels are too short to make up for the transforms.
struct Down {
    static constexpr int P = 5, IN = 5, OUT = 2, STEP_IN = 4, STEP_OUT = 2, OFFSET = 0;
    static constexpr double G[5][3] = {{1, 0, 0}, {1, 0, 1}, {0, 0, 1}, {0, 1, 0}, {0, 1, 0}};
    static constexpr double B[5][5] = {
        {1, 0, -1, 0, 0}, {0, 0, 1, 0, 0}, {0, 0, 1, 0, -1}, {0, 1, 0, 0, 0}, {0, 0, 0, 1, 0}};
    static constexpr double A[2][5] = {{1, 1, 0, 1, 0}, {0, 1, -1, 0, 1}};
};

enum class Matrix { A, At, B, G, Gt };

template <class L, Matrix M>
constexpr int rows() {
    return M == Matrix::A ? L::OUT : M == Matrix::Gt ? 3 : L::P;
}
template <class L, Matrix M>
constexpr int columns() {
    return M == Matrix::A || M == Matrix::Gt ? L::P : M == Matrix::At ? L::OUT : M == Matrix::B ? L::IN : 3;
}
template <class L, Matrix M>
constexpr double entry(int r, int c) {
    if constexpr (M == Matrix::A) return L::A[r][c];
    else if constexpr (M == Matrix::At) return L::A[c][r];
    else if constexpr (M == Matrix::B) return L::B[r][c];
    else if constexpr (M == Matrix::G) return L::G[r][c];
    else return L::G[c][r];
}

template <class L, Matrix M, int R, int C, typename T>
INLINE void term(V<T>& sum, const V<T>* in, int step) {
    constexpr double factor = entry<L, M>(R, C);
    if constexpr (factor == 1) sum += in[C * step];
    else if constexpr (factor == -1) sum -= in[C * step];
    else if constexpr (factor != 0) sum += static_cast<T>(factor) * in[C * step];
}
template <class L, Matrix M, int R, typename T, int... C>
INLINE V<T> row(const V<T>* in, int step, std::integer_sequence<int, C...>) {
    V<T> sum{};
    (term<L, M, R, C, T>(sum, in, step), ...);
    return sum;
}
template <class L, Matrix M, typename T, int... R>
INLINE void multiply(const V<T>* in, int step, V<T>* out, int out_step, std::integer_sequence<int, R...>) {
    ((out[R * out_step] = row<L, M, R, T>(in, step, std::make_integer_sequence<int, columns<L, M>()>{})), ...);
}
// out = M in, both strided vectors of vectors.
template <class L, Matrix M, typename T>
INLINE void apply(const V<T>* in, int step, V<T>* out, int out_step) {
    if constexpr (std::is_same_v<L, Same> && M == Matrix::B) {
        const V<T> d0 = in[0], d1 = in[step], d2 = in[2 * step], d3 = in[3 * step], d4 = in[4 * step], d5 = in[5 * step];
        const V<T> a = d4 - T(4) * d2, b = d3 - T(4) * d1, c = d4 - d2, e = T(2) * (d3 - d1);
        out[0] = T(4) * d0 - T(5) * d2 + d4;
        out[out_step] = a + b;
        out[2 * out_step] = a - b;
        out[3 * out_step] = c + e;
        out[4 * out_step] = c - e;
        out[5 * out_step] = T(4) * d1 - T(5) * d3 + d5;
    } else if constexpr (std::is_same_v<L, Same> && M == Matrix::A) {
        const V<T> s = in[step] + in[2 * step], d = in[step] - in[2 * step];
        const V<T> u = in[3 * step] + in[4 * step], v = in[3 * step] - in[4 * step];
        out[0] = in[0] + s + u;
        out[out_step] = d + T(2) * v;
        out[2 * out_step] = s + T(4) * u;
        out[3 * out_step] = d + T(8) * v + in[5 * step];
    } else {
        multiply<L, M, T>(in, step, out, out_step, std::make_integer_sequence<int, rows<L, M>()>{});
    }
}
// out [R, R] = M in [C, C] M^T.
template <class L, Matrix M, typename T>
INLINE void both_axes(const V<T>* in, V<T>* out) {
    constexpr int R = rows<L, M>(), C = columns<L, M>();
    V<T> half[R * C];
    for (int c = 0; c < C; ++c) apply<L, M, T>(in + c, C, half + c, C);
    for (int r = 0; r < R; ++r) apply<L, M, T>(half + r * C, 1, out + r * R, 1);
}

// ---- tiles ----

template <typename T>
struct Map {  // [N, H, W, C]
    T* data;
    Index height, width, channels;
};

struct Grid {
    Index rows, columns;
    INLINE void locate(Index tile, Index& n, Index& y, Index& x) const {
        n = tile / (rows * columns);
        y = tile / columns % rows;
        x = tile % columns;
    }
};

// Distance between points: not a multiple of 4096 bytes, or all points of a tile would share a set of the cache.
template <typename T>
INLINE Index plane_of(Index tiles, Index channels) { return tiles * channels + 2 * LANES<T>; }

// B d B^T of input tiles, or A^T d A of output tiles, -> points [P * P][tiles][C], `plane` apart.
template <class L, Matrix M, typename T>
void to_points(const Map<const T>& map, const T* scale, const Grid& grid, Index first, Index count, Index plane, T* points) {
    constexpr int C = columns<L, M>(), R = rows<L, M>();
    constexpr Index step = M == Matrix::B ? L::STEP_IN : L::STEP_OUT, offset = M == Matrix::B ? L::OFFSET : 0;
    for (Index t = 0; t < count; ++t) {
        Index n, y, x;
        grid.locate(first + t, n, y, x);
        const Index top = y * step + offset, left = x * step + offset;
        const T* image = map.data + n * map.height * map.width * map.channels;
        const bool inside = top >= 0 && left >= 0 && top + C <= map.height && left + C <= map.width;
        for (Index c = 0; c < map.channels; c += LANES<T>) {
            V<T> d[C * C], m[R * R];
            if (inside) {
                for (int i = 0; i < C; ++i)
                    for (int j = 0; j < C; ++j) d[i * C + j] = load(image + ((top + i) * map.width + left + j) * map.channels + c);
            } else {
                for (int i = 0; i < C; ++i)
                    for (int j = 0; j < C; ++j) {
                        const bool in = top + i >= 0 && top + i < map.height && left + j >= 0 && left + j < map.width;
                        d[i * C + j] = in ? load(image + ((top + i) * map.width + left + j) * map.channels + c) : V<T>{};
                    }
            }
            if (scale) {
                const V<T> s = load(scale + n * map.channels + c);
                for (int i = 0; i < C * C; ++i) d[i] *= s;
            }
            both_axes<L, M, T>(d, m);
            T* out = points + t * map.channels + c;
            for (int p = 0; p < R * R; ++p) store(out + p * plane, m[p]);
        }
    }
}

template <typename T>
struct Finish {  // what happens to a sum before it is stored: * scale + bias + noise, leaky ReLU, clamp
    const T *scale, *bias, *noise;
    Index noise_step;  // of one sample; 0 where all share one map
    T slope, clamp;    // slope 1: no activation; clamp 0: none
    INLINE V<T> operator()(V<T> v, const V<T>& s, const V<T>& b, T noise_value) const {
        v = v * s + b + noise_value;
        if (slope != T(1)) v = v > T(0) ? v : v * slope;
        if (clamp != T(0)) {
            v = v > clamp ? all(clamp) : v;
            v = v < -clamp ? all(-clamp) : v;
        }
        return v;
    }
};

// A m A^T of tiles' points [P * P][tiles][width], `plane` apart -> channels from..from + width of the map.
template <class L, typename T>
void from_points(const T* points, Index plane, Index width, const Finish<T>& finish, const Grid& grid, Index first, Index count,
                 Index from, const Map<T>& map) {
    constexpr int P = L::P, O = L::OUT;
    for (Index t = 0; t < count; ++t) {
        Index n, y, x;
        grid.locate(first + t, n, y, x);
        const Index top = y * L::STEP_OUT, left = x * L::STEP_OUT;
        const int height = static_cast<int>(std::min<Index>(O, map.height - top));
        const int breadth = static_cast<int>(std::min<Index>(O, map.width - left));
        T* image = map.data + n * map.height * map.width * map.channels;
        const T* noise = finish.noise ? finish.noise + n * finish.noise_step : nullptr;
        for (Index c = 0; c < width; c += LANES<T>) {
            V<T> m[P * P], d[O * O];
            const T* in = points + t * width + c;
            for (int p = 0; p < P * P; ++p) m[p] = load(in + p * plane);
            both_axes<L, Matrix::A, T>(m, d);
            const V<T> s = finish.scale ? load(finish.scale + n * map.channels + from + c) : all(T(1));
            const V<T> b = finish.bias ? load(finish.bias + from + c) : V<T>{};
            for (int i = 0; i < height; ++i)
                for (int j = 0; j < breadth; ++j) {
                    const Index place = (top + i) * map.width + left + j;
                    store(image + place * map.channels + from + c, finish(d[i * O + j], s, b, noise ? noise[place] : T(0)));
                }
        }
    }
}

// ---- matrix products ----

// c [MR, NV * LANES] = (add) a [MR, depth] (rows `lda` apart) times b [depth, NV * LANES]; a cache line of `ahead`, which
// is needed soon, is fetched per step.
template <typename T, int MR, int NV, bool COLUMN_MAJOR, bool ADD>
INLINE void micro(const T* a, Index lda, const T* b, Index ldb, Index depth, T* c, Index ldc, const T* ahead) {
    V<T> sums[MR][NV];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sums[r][v] = ADD ? load(c + r * ldc + v * LANES<T>) : V<T>{};
    for (Index k = 0; k < depth; ++k) {
        V<T> row[NV];
        __builtin_prefetch(reinterpret_cast<const char*>(ahead) + k * 64, 0, 2);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) row[v] = load(b + k * ldb + v * LANES<T>);
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) {
            const V<T> value = all(COLUMN_MAJOR ? a[k * lda + r] : a[r * lda + k]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sums[r][v] += value * row[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store(c + r * ldc + v * LANES<T>, sums[r][v]);
}

template <typename T>
Index panel(Index channels) { return channels % (2 * LANES<T>) ? LANES<T> : 2 * LANES<T>; }

constexpr Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

// ---- convolution ----

// Filters [3, 3, I, O] -> points [P * P][O / panel][I][panel].
template <class L, typename T>
void transform_filters(const T* filters, Index I, Index O, T* points, int threads) {
    const Index w = panel<T>(O);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (Index i = 0; i < I; ++i)
        for (Index o = 0; o < O; o += LANES<T>) {
            V<T> g[9], m[L::P * L::P];
            for (int k = 0; k < 9; ++k) g[k] = load(filters + (k * I + i) * O + o);
            both_axes<L, Matrix::G, T>(g, m);
            T* out = points + (o / w * I + i) * w + o % w;
            for (int p = 0; p < L::P * L::P; ++p) store(out + p * I * O, m[p]);
        }
}

template <class L, typename T>
void convolve(Index N, const Map<const T>& in, const T* scale, const T* filters, const Finish<T>& finish, const Map<T>& out,
              int threads) {
    constexpr Index PP = L::P * L::P;
    const Index I = in.channels, O = out.channels, w = panel<T>(O);
    const Grid grid{(out.height + L::STEP_OUT - 1) / L::STEP_OUT, (out.width + L::STEP_OUT - 1) / L::STEP_OUT};
    const Index total = N * grid.rows * grid.columns;
    // Tiles at a time: enough to use each filter often, few enough for the cache, and a few pieces per thread.
    const Index most = std::clamp<Index>(I * O / (I + O) / 2, 24, 96) / ROWS * ROWS;
    const Index share = round_up((total + 2 * threads - 1) / (2 * threads), ROWS);
    const Index piece = threads > 1 ? std::min(most, share) : std::min(most, round_up(total, ROWS));
    const Index block = std::min<Index>(O, 256);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
    for (Index first = 0; first < total; first += piece) {
        const Index count = std::min(piece, total - first);
        const Index in_plane = plane_of<T>(piece, I);
        T* points = scratch_in.get<T>(PP * in_plane);
        T* sums = scratch_out.get<T>(PP * plane_of<T>(piece, block));
        to_points<L, Matrix::B, T>(in, scale, grid, first, count, in_plane, points);
        for (Index from = 0; from < O; from += block) {
            const Index width = std::min(block, O - from), out_plane = plane_of<T>(piece, width);
            for (Index p = 0; p < PP; ++p)
                for (Index o = 0; o < width; o += w) {
                    const T* b = filters + p * I * O + (from + o) * I;
                    // The panel after this one, perhaps of the next point.
                    const T* next = o + w < width ? b + I * w : filters + (p + 1 < PP ? p + 1 : 0) * I * O + from * I;
                    for (Index t = 0; t < count; t += ROWS) {
                        const T* a = points + p * in_plane + t * I;
                        T* c = sums + p * out_plane + t * width + o;
                        const T* ahead = next + std::min<Index>(t / ROWS, w * sizeof(T) / 64 - 1) * I * (64 / sizeof(T));
                        if (w == 2 * LANES<T>) micro<T, ROWS, 2, false, false>(a, I, b, w, I, c, width, ahead);
                        else micro<T, ROWS, 1, false, false>(a, I, b, w, I, c, width, ahead);
                    }
                }
            from_points<L, T>(sums, out_plane, width, finish, grid, first, count, from, out);
        }
    }
}

// Gradient of the filters: [3, 3, I, O].
template <class L, typename T>
void filter_gradient(Index N, const Map<const T>& in, const T* scale, const Map<const T>& grad, const T* grad_scale, T* filters,
                     int threads) {
    constexpr Index PP = L::P * L::P;
    constexpr int MR = ROWS >= 8 ? 8 : 4;
    const Index I = in.channels, O = grad.channels, w = panel<T>(O);
    const Grid grid{(grad.height + L::STEP_OUT - 1) / L::STEP_OUT, (grad.width + L::STEP_OUT - 1) / L::STEP_OUT};
    const Index total = N * grid.rows * grid.columns;
    // Per piece PP (I + O) numbers per tile and PP I O sums go through the cache: neither should outweigh the other.
    const Index piece = std::min(total, std::clamp<Index>(I * O / (I + O), 32, 256));
    const Index in_plane = plane_of<T>(piece, I), out_plane = plane_of<T>(piece, O);
    T* x = scratch_in.get<T>(PP * in_plane);
    T* g = scratch_out.get<T>(PP * out_plane);
    T* sums = static_cast<T*>(std::aligned_alloc(256, round_up(PP * I * O * sizeof(T), 256)));
    if (!sums) throw std::bad_alloc();
    for (Index first = 0; first < total; first += piece) {
        const Index count = std::min(piece, total - first);
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
#pragma omp for schedule(dynamic, 8)
            for (Index t = 0; t < count; ++t) {
                to_points<L, Matrix::B, T>(in, scale, grid, first + t, 1, in_plane, x + t * I);
                to_points<L, Matrix::At, T>(grad, grad_scale, grid, first + t, 1, out_plane, g + t * O);
            }
#pragma omp for schedule(dynamic, 1)
            for (Index p = 0; p < PP; ++p)
                for (Index o = 0; o < O; o += w)
                    for (Index i = 0; i < I; i += MR) {
                        const T *a = x + p * in_plane + i, *b = g + p * out_plane + o;
                        T* c = sums + (p * I + i) * O + o;
                        if (w == 2 * LANES<T>) {
                            if (first) micro<T, MR, 2, true, true>(a, I, b, O, count, c, O, b);
                            else micro<T, MR, 2, true, false>(a, I, b, O, count, c, O, b);
                        } else {
                            if (first) micro<T, MR, 1, true, true>(a, I, b, O, count, c, O, b);
                            else micro<T, MR, 1, true, false>(a, I, b, O, count, c, O, b);
                        }
                    }
        }
    }
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (Index i = 0; i < I; ++i)
        for (Index o = 0; o < O; o += LANES<T>) {
            V<T> m[PP], w9[9];
            for (int p = 0; p < PP; ++p) m[p] = load(sums + (p * I + i) * O + o);
            both_axes<L, Matrix::Gt, T>(m, w9);
            for (int k = 0; k < 9; ++k) store(filters + (k * I + i) * O + o, w9[k]);
        }
    std::free(sums);
}

// ---- pointwise ----

// Backward of y = clamp(lrelu(scale * c + bias + noise)): from grad and y, the gradient of the value before the
// activation (per place), its sums over places (bias, per sample), with c (scale), and over channels (noise).
template <typename T>
void finish_gradient(Index N, Index places, Index C, const T* grad, const T* y, const T* scale, const T* bias, const T* noise,
                     Index noise_step, T slope, T clamp, T* out, T* bias_sum, T* scale_sum, T* noise_sum, int threads) {
    constexpr Index PARTS = 8;
    const T rise = T(1) / slope;
    std::unique_ptr<T[]> partial(new T[N * PARTS * 2 * C]());
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (Index part = 0; part < N * PARTS; ++part) {
        const Index n = part / PARTS, begin = places * (part % PARTS) / PARTS, end = places * (part % PARTS + 1) / PARTS;
        T *bias_part = partial.get() + part * 2 * C, *scale_part = bias_part + C;
        for (Index s = begin; s < end; ++s) {
            const T eps = noise ? noise[n * noise_step + s] : T(0);
            V<T> line{};
            for (Index c = 0; c < C; c += LANES<T>) {
                const Index at = (n * places + s) * C + c;
                const V<T> value = load(y + at);
                V<T> g = load(grad + at);
                g = value > T(0) ? g : g * slope;
                if (clamp != T(0)) {
                    g = value >= clamp ? V<T>{} : g;
                    g = value <= -clamp ? V<T>{} : g;
                }
                store(out + at, g);
                store(bias_part + c, load(bias_part + c) + g);
                if (scale_sum) {
                    const V<T> before = (value > T(0) ? value : value * rise) - load(bias + c) - eps;
                    store(scale_part + c, load(scale_part + c) + g * before);
                }
                line += g;
            }
            if (noise_sum) {
                T total = 0;
                for (Index l = 0; l < LANES<T>; ++l) total += line[l];
                noise_sum[n * places + s] = total;
            }
        }
    }
    for (Index n = 0; n < N; ++n)
        for (Index c = 0; c < C; ++c) {
            T b = 0, s = 0;
            for (Index part = n * PARTS; part < (n + 1) * PARTS; ++part) {
                b += partial[part * 2 * C + c];
                s += partial[part * 2 * C + C + c];
            }
            bias_sum[n * C + c] = b;
            if (scale_sum) scale_sum[n * C + c] = s / scale[n * C + c];
        }
}

// x *= scale in place; sums[n, c] = sum over places of (x before) * other.
template <typename T>
void scale_and_dot(Index N, Index places, Index C, T* x, const T* other, const T* scale, T* sums, int threads) {
    constexpr Index PARTS = 8;
    std::unique_ptr<T[]> partial(new T[N * PARTS * C]());
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (Index part = 0; part < N * PARTS; ++part) {
        const Index n = part / PARTS, begin = places * (part % PARTS) / PARTS, end = places * (part % PARTS + 1) / PARTS;
        T* sum = partial.get() + part * C;
        for (Index s = begin; s < end; ++s)
            for (Index c = 0; c < C; c += LANES<T>) {
                const Index at = (n * places + s) * C + c;
                const V<T> value = load(x + at);
                store(sum + c, load(sum + c) + value * load(other + at));
                store(x + at, value * load(scale + n * C + c));
            }
    }
    for (Index n = 0; n < N; ++n)
        for (Index c = 0; c < C; ++c) {
            T total = 0;
            for (Index part = n * PARTS; part < (n + 1) * PARTS; ++part) total += partial[part * C + c];
            sums[n * C + c] = total;
        }
}

// ---- resampling ----

// Upsample by `up`, pad, filter both axes with `taps` (already flipped), keep every `down`-th; [N, H, W, C], any C.
template <typename T>
struct Resampling {
    Index H, W, C, OH, OW;
    const T* taps;
    Index count, up, down, top, left;

    // One input row, filtered along x -> out [OW, C].
    void along(const T* in, T* out) const {
        for (Index x = 0; x < OW; ++x) {
            const Index start = x * down - left;  // in the spread grid
            Index k = start < 0 ? -start : 0;
            k += (up - (start + k) % up) % up;
            const Index place = (start + k) / up;
            combine(in + place * C, C, W - place, k, C, out + x * C, [](V<T> v, Index) { return v; });
        }
    }
    // to[i] = last(sum of taps[k + j up] in[i + j step]) for the at most `most` j that there are; C % LANES == 0 or scalar.
    template <typename F>
    INLINE void combine(const T* in, Index step, Index most, Index k, Index size, T* to, F&& last) const {
        const Index terms = std::min<Index>(k < count ? (count - k + up - 1) / up : 0, most);
        Index i = 0;
        for (; i + LANES<T> <= size; i += LANES<T>) {
            V<T> sum{};
            for (Index j = 0; j < terms; ++j) sum += taps[k + j * up] * load(in + j * step + i);
            store(to + i, last(sum, i));
        }
        for (; i < size; ++i) {
            T sum = 0;
            for (Index j = 0; j < terms; ++j) sum += taps[k + j * up] * in[j * step + i];
            to[i] = sum;
        }
    }
    // The same for single-channel rows, vectorised along x.
    void along_plane(const T* in, T* out, T* padded) const {
        const Index reach = (OW - 1) * down + count;  // of the spread row
        std::fill(padded, padded + reach, T(0));
        for (Index i = 0; i < W; ++i) {
            const Index place = i * up + left;
            if (place >= 0 && place < reach) padded[place] = in[i];
        }
        std::fill(out, out + OW, T(0));
        if (down == 1) {
            for (Index k = 0; k < count; ++k) {
                const T tap = taps[k];
#pragma omp simd
                for (Index x = 0; x < OW; ++x) out[x] += tap * padded[x + k];
            }
        } else {
            for (Index k = 0; k < count; ++k) {
                const T tap = taps[k];
#pragma omp simd
                for (Index x = 0; x < OW; ++x) out[x] += tap * padded[x * 2 + k];
            }
        }
    }

    void run(Index N, const T* in, T* out, const Finish<T>* finish, int threads) const;
};

template <typename T>
void Resampling<T>::run(Index N, const T* in, T* out, const Finish<T>* finish, int threads) const {
    const Index strip = 16, strips = (OH + strip - 1) / strip;
    const Index line = OW * C;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
    for (Index job = 0; job < N * strips; ++job) {
        const Index n = job / strips, first = job % strips * strip, last = std::min(OH, first + strip);
        // Input rows that this strip reads.
        const Index low = std::max<Index>(0, (first * down - top + up - 1) / up - 1);
        const Index high = std::min(H, ((last - 1) * down - top + count - 1) / up + 1);
        const Index have = std::max<Index>(0, high - low);
        T* lines = scratch_in.get<T>((have + 1) * line + W * up + OW * down + 4 * count + 64);
        T* padded = lines + (have + 1) * line;
        for (Index r = 0; r < have; ++r) {
            const T* from = in + ((n * H) + low + r) * W * C;
            if (C == 1) along_plane(from, lines + r * line, padded);
            else along(from, lines + r * line);
        }
        for (Index y = first; y < last; ++y) {
            T* to = out + (n * OH + y) * line;
            const Index start = y * down - top;
            Index k = start < 0 ? -start : 0;
            k += (up - (start + k) % up) % up;
            const Index place = (start + k) / up;
            const T* from = lines + (place - low) * line;
            if (!finish) {
                combine(from, line, high - place, k, line, to, [](V<T> v, Index) { return v; });
                continue;
            }
            for (Index x = 0; x < OW; ++x) {
                const T eps = finish->noise ? finish->noise[n * finish->noise_step + y * OW + x] : T(0);
                combine(from + x * C, line, high - place, k, C, to + x * C, [&](V<T> v, Index c) {
                    const V<T> s = finish->scale ? load(finish->scale + n * C + c) : all(T(1));
                    const V<T> b = finish->bias ? load(finish->bias + c) : V<T>{};
                    return (*finish)(v, s, b, eps);
                });
            }
        }
    }
}

template <typename F>
int guarded(F&& call) {
    try {
        call();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

#define FUNCTIONS(T, NAME)                                                                                                      \
    extern "C" int NAME##_transform_filters(const T* filters, Index I, Index O, T* points, int threads) {                      \
        return guarded([&] { transform_filters<Same, T>(filters, I, O, points, threads); });                                    \
    }                                                                                                                           \
    extern "C" int NAME##_convolve(Index N, const T* x, Index H, Index W, Index I, const T* in_scale, const T* points, \
                                   T* y, Index OH, Index OW, Index O, const T* scale, const T* bias, const T* noise,           \
                                   Index noise_step, double slope, double clamp, int threads) {                                 \
        const Map<const T> in{x, H, W, I};                                                                                      \
        const Map<T> out{y, OH, OW, O};                                                                                         \
        const Finish<T> finish{scale, bias, noise, noise_step, static_cast<T>(slope), static_cast<T>(clamp)};                   \
        return guarded([&] {                                                                                                    \
            convolve<Same, T>(N, in, in_scale, points, finish, out, threads);                                                   \
        });                                                                                                                     \
    }                                                                                                                           \
    extern "C" int NAME##_filter_gradient(int down, Index N, const T* x, Index H, Index W, Index I, const T* in_scale,          \
                                          const T* g, Index OH, Index OW, Index O, const T* grad_scale, T* filters,             \
                                          int threads) {                                                                        \
        const Map<const T> in{x, H, W, I}, grad{g, OH, OW, O};                                                                  \
        return guarded([&] {                                                                                                    \
            if (down) filter_gradient<Down, T>(N, in, in_scale, grad, grad_scale, filters, threads);                            \
            else filter_gradient<Same, T>(N, in, in_scale, grad, grad_scale, filters, threads);                                 \
        });                                                                                                                     \
    }                                                                                                                           \
    extern "C" int NAME##_finish_gradient(Index N, Index places, Index C, const T* grad, const T* y, const T* scale,            \
                                          const T* bias, const T* noise, Index noise_step, double slope, double clamp, T* out,  \
                                          T* bias_sum, T* scale_sum, T* noise_sum, int threads) {                               \
        return guarded([&] {                                                                                                    \
            finish_gradient<T>(N, places, C, grad, y, scale, bias, noise, noise_step, static_cast<T>(slope),                    \
                               static_cast<T>(clamp), out, bias_sum, scale_sum, noise_sum, threads);                            \
        });                                                                                                                     \
    }                                                                                                                           \
    extern "C" int NAME##_scale_and_dot(Index N, Index places, Index C, T* x, const T* other, const T* scale, T* sums,          \
                                        int threads) {                                                                          \
        return guarded([&] { scale_and_dot<T>(N, places, C, x, other, scale, sums, threads); });                                \
    }                                                                                                                           \
    extern "C" int NAME##_resample(Index N, Index H, Index W, Index C, const T* x, const T* taps, Index count, Index up,        \
                                   Index down, Index top, Index left, T* y, Index OH, Index OW, int finishes, const T* scale,   \
                                   const T* bias, const T* noise, Index noise_step, double slope, double clamp, int threads) {  \
        const Resampling<T> resampling{H, W, C, OH, OW, taps, count, up, down, top, left};                                      \
        const Finish<T> finish{scale, bias, noise, noise_step, static_cast<T>(slope), static_cast<T>(clamp)};                   \
        return guarded([&] { resampling.run(N, x, y, finishes ? &finish : nullptr, threads); });                    \
    }

FUNCTIONS(float, float32)
FUNCTIONS(double, float64)
