// Batch norm and SiLU as one operation with one backward pass (Ioffe & Szegedy 2015; Elfwing et al. 2017). libtorch runs them one after
// the other and keeps the input of both for the backward pass; here only the convolution's output is kept and what lies between is
// computed again, which is cheaper than reading it from memory: two tensors a convolution instead of three, four passes over memory
// instead of nine.
//
// Tensors are NHWC, float32 or bf16; sums are float32 over 64 rows and float64 over those. The rows are cut into as many parts as there
// are threads, so the numbers depend on their count and on nothing else.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t BLOCK = 64;

#define INLINE static inline __attribute__((always_inline))

INLINE float bits_float(uint32_t u) { float f; std::memcpy(&f, &u, 4); return f; }
INLINE uint32_t float_bits(float f) { uint32_t u; std::memcpy(&u, &f, 4); return u; }

INLINE float load(float v) { return v; }
INLINE float load(uint16_t v) { return bits_float(uint32_t(v) << 16); }
INLINE void store(float* to, float v) { *to = v; }
INLINE void store(uint16_t* to, float v) {
  // To nearest, ties to even; what is not a number stays that.
  uint32_t u = float_bits(v), rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  *to = uint16_t(v == v ? rounded : 0x7fc0u);
}

// e^x by 2^n · e^r, |r| ≤ ln 2 / 2, with a polynomial of degree 7 (Cephes): off by 2e-7 at most. Written so that it becomes vectors.
INLINE float exponential(float x) {
  x = x > -87.0f ? x : -87.0f;
  x = x < 87.0f ? x : 87.0f;
  float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // adding 1.5 · 2^23 rounds to a whole number
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float y = p * r * r + r + 1.0f;
  return y * bits_float(uint32_t(int32_t(n) + 127) << 23);
}

INLINE float sigmoid(float z) { return 1.0f / (1.0f + exponential(-z)); }

// No two of the arrays overlap.
#define EACH _Pragma("GCC ivdep")

// Sums of x − k and (x − k)² by channel. k, any value of the channel, keeps the second from cancelling.
template <typename T>
INLINE void sums(const T* x, int64_t rows, int64_t c, const float* k, double* s1, double* s2, float* f1, float* f2) {
  for (int64_t from = 0; from < rows; from += BLOCK) {
    int64_t to = from + BLOCK < rows ? from + BLOCK : rows;
    for (int64_t i = 0; i < c; i++) f1[i] = f2[i] = 0.0f;
    for (int64_t row = from; row < to; row++) {
      const T* line = x + row * c;
      EACH
      for (int64_t i = 0; i < c; i++) {
        float v = load(line[i]) - k[i];
        f1[i] += v;
        f2[i] += v * v;
      }
    }
    for (int64_t i = 0; i < c; i++) s1[i] += f1[i], s2[i] += f2[i];
  }
}

// y = silu((x − mean) · a + b)
template <typename T>
INLINE void apply(const T* x, T* y, int64_t rows, int64_t c, const float* mean, const float* a, const float* b) {
  for (int64_t row = 0; row < rows; row++) {
    const T* in = x + row * c;
    T* out = y + row * c;
    EACH
    for (int64_t i = 0; i < c; i++) {
      float z = (load(in[i]) - mean[i]) * a[i] + b[i];
      store(out + i, z * sigmoid(z));
    }
  }
}

// dz = dy · silu'(z) into dx, and the sums of dz and dz · (x − mean) by channel.
template <typename T>
INLINE void through_silu(const T* x, const T* dy, T* dx, int64_t rows, int64_t c, const float* a, const float* b, const float* mean,
                         double* s1, double* s2, float* f1, float* f2) {
  for (int64_t from = 0; from < rows; from += BLOCK) {
    int64_t to = from + BLOCK < rows ? from + BLOCK : rows;
    for (int64_t i = 0; i < c; i++) f1[i] = f2[i] = 0.0f;
    for (int64_t row = from; row < to; row++) {
      const T* in = x + row * c;
      const T* grad = dy + row * c;
      T* out = dx + row * c;
      EACH
      for (int64_t i = 0; i < c; i++) {
        float v = load(in[i]) - mean[i], z = v * a[i] + b[i], s = sigmoid(z);
        float dz = load(grad[i]) * s * (1.0f + z * (1.0f - s));
        f1[i] += dz;
        f2[i] += dz * v;
        store(out + i, dz);
      }
    }
    for (int64_t i = 0; i < c; i++) s1[i] += f1[i], s2[i] += f2[i];
  }
}

// dx = a · (dz − m1 − (x − mean) · m2), dz being in dx.
template <typename T>
INLINE void through_norm(const T* x, T* dx, int64_t rows, int64_t c, const float* a, const float* mean, const float* m1, const float* m2) {
  for (int64_t row = 0; row < rows; row++) {
    const T* in = x + row * c;
    T* out = dx + row * c;
    EACH
    for (int64_t i = 0; i < c; i++) store(out + i, a[i] * (load(out[i]) - m1[i] - (load(in[i]) - mean[i]) * m2[i]));
  }
}

// The loops above, compiled for each kind of processor; which one runs is asked once.
#if defined(__x86_64__)
#define V4 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#define V3 __attribute__((target("avx2,fma")))
int level() {
  static const int found = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") ? 4
                           : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")                                              ? 3
                                                                                                                                          : 0;
  return found;
}
#define VERSIONS(name, types, values)                             \
  template <typename T> V4 void name##_v4 types { name<T> values; } \
  template <typename T> V3 void name##_v3 types { name<T> values; } \
  template <typename T> void name##_any types { name<T> values; }   \
  template <typename T> void name##_best types {                  \
    if (level() == 4) return name##_v4<T> values;                 \
    if (level() == 3) return name##_v3<T> values;                 \
    name##_any<T> values;                                         \
  }
#else
#define VERSIONS(name, types, values) \
  template <typename T> void name##_best types { name<T> values; }
#endif

VERSIONS(sums, (const T* x, int64_t rows, int64_t c, const float* k, double* s1, double* s2, float* f1, float* f2), (x, rows, c, k, s1, s2, f1, f2))
VERSIONS(apply, (const T* x, T* y, int64_t rows, int64_t c, const float* mean, const float* a, const float* b), (x, y, rows, c, mean, a, b))
VERSIONS(through_silu,
         (const T* x, const T* dy, T* dx, int64_t rows, int64_t c, const float* a, const float* b, const float* mean, double* s1, double* s2,
          float* f1, float* f2),
         (x, dy, dx, rows, c, a, b, mean, s1, s2, f1, f2))
VERSIONS(through_norm, (const T* x, T* dx, int64_t rows, int64_t c, const float* a, const float* mean, const float* m1, const float* m2),
         (x, dx, rows, c, a, mean, m1, m2))

struct Shape {
  int64_t rows, channels;
  explicit Shape(const Tensor& x) : rows(x.size(0) * x.size(2) * x.size(3)), channels(x.size(1)) {}
};

// Calls part(from, to, number) for as many parts of the rows as there are threads.
template <typename F>
void in_parts(int64_t rows, int64_t parts, F part) {
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; n++) part(rows * n / parts, rows * (n + 1) / parts, n);
  });
}

// Two sums by channel over all rows.
template <typename F>
std::pair<std::vector<double>, std::vector<double>> two_sums(const Shape& s, F part) {
  int64_t parts = at::get_num_threads(), c = s.channels;
  std::vector<double> s1(parts * c, 0.0), s2(parts * c, 0.0);
  in_parts(s.rows, parts, [&](int64_t from, int64_t to, int64_t n) {
    std::vector<float> scratch(2 * c);
    part(from, to, s1.data() + n * c, s2.data() + n * c, scratch.data(), scratch.data() + c);
  });
  for (int64_t n = 1; n < parts; n++)
    for (int64_t i = 0; i < c; i++) s1[i] += s1[n * c + i], s2[i] += s2[n * c + i];
  s1.resize(c), s2.resize(c);
  return {std::move(s1), std::move(s2)};
}

std::vector<float> scales(const Tensor& weight, const float* invstd) {
  std::vector<float> a(weight.numel());
  for (size_t i = 0; i < a.size(); i++) a[i] = weight.const_data_ptr<float>()[i] * invstd[i];
  return a;
}

template <typename T>
Tensor forward_of(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                  double momentum, double eps, Tensor& mean, Tensor& invstd) {
  Shape s(x);
  int64_t c = s.channels;
  const T* in = static_cast<const T*>(x.const_data_ptr());
  std::vector<float> k(c);
  for (int64_t i = 0; i < c; i++) k[i] = load(in[i]);
  auto found = two_sums(s, [&](int64_t from, int64_t to, double* s1, double* s2, float* f1, float* f2) {
    sums_best<T>(in + from * c, to - from, c, k.data(), s1, s2, f1, f2);
  });
  mean = at::empty({c}, weight.options().requires_grad(false));
  invstd = at::empty({c}, weight.options().requires_grad(false));
  float *m = mean.mutable_data_ptr<float>(), *inv = invstd.mutable_data_ptr<float>();
  float *rm = running_mean.mutable_data_ptr<float>(), *rv = running_var.mutable_data_ptr<float>();
  double rows = double(s.rows);
  for (int64_t i = 0; i < c; i++) {
    double shifted = found.first[i] / rows, var = std::max(found.second[i] / rows - shifted * shifted, 0.0);
    if (std::isnan(found.second[i])) var = found.second[i];
    double average = k[i] + shifted;
    m[i] = float(average), inv[i] = float(1.0 / std::sqrt(var + eps));
    double unbiased = s.rows > 1 ? var * rows / (rows - 1.0) : var;
    rm[i] = float((1.0 - momentum) * rm[i] + momentum * average), rv[i] = float((1.0 - momentum) * rv[i] + momentum * unbiased);
  }
  auto a = scales(weight, inv);
  const float* b = bias.const_data_ptr<float>();
  Tensor y = at::empty_like(x);
  T* out = static_cast<T*>(y.mutable_data_ptr());
  in_parts(s.rows, at::get_num_threads(), [&](int64_t from, int64_t to, int64_t) {
    apply_best<T>(in + from * c, out + from * c, to - from, c, m, a.data(), b);
  });
  return y;
}

template <typename T>
variable_list backward_of(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& invstd, const Tensor& dy) {
  Shape s(x);
  int64_t c = s.channels;
  const T *in = static_cast<const T*>(x.const_data_ptr()), *grad = static_cast<const T*>(dy.const_data_ptr());
  const float *m = mean.const_data_ptr<float>(), *inv = invstd.const_data_ptr<float>();
  auto a = scales(weight, inv);
  const float* b = bias.const_data_ptr<float>();
  Tensor dx = at::empty_like(x);
  T* out = static_cast<T*>(dx.mutable_data_ptr());
  auto found = two_sums(s, [&](int64_t from, int64_t to, double* s1, double* s2, float* f1, float* f2) {
    through_silu_best<T>(in + from * c, grad + from * c, out + from * c, to - from, c, a.data(), b, m, s1, s2, f1, f2);
  });
  Tensor dweight = at::empty_like(weight), dbias = at::empty_like(bias);
  float *dw = dweight.mutable_data_ptr<float>(), *db = dbias.mutable_data_ptr<float>();
  std::vector<float> m1(c), m2(c);
  double rows = double(s.rows);
  for (int64_t i = 0; i < c; i++) {
    db[i] = float(found.first[i]), dw[i] = float(found.second[i] * inv[i]);
    m1[i] = float(found.first[i] / rows), m2[i] = float(found.second[i] / rows * inv[i] * inv[i]);
  }
  in_parts(s.rows, at::get_num_threads(), [&](int64_t from, int64_t to, int64_t) {
    through_norm_best<T>(in + from * c, out + from * c, to - from, c, a.data(), m, m1.data(), m2.data());
  });
  return {dx, dweight, dbias, Tensor(), Tensor(), Tensor(), Tensor()};
}

bool is_bf16(const Tensor& t) { return t.scalar_type() == at::kBFloat16; }

struct NormSilu : torch::autograd::Function<NormSilu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                        const Tensor& running_var, double momentum, double eps) {
    Tensor x = input.contiguous(at::MemoryFormat::ChannelsLast), mean, invstd;
    Tensor y = is_bf16(x) ? forward_of<uint16_t>(x, weight, bias, running_mean, running_var, momentum, eps, mean, invstd)
                          : forward_of<float>(x, weight, bias, running_mean, running_var, momentum, eps, mean, invstd);
    ctx->save_for_backward({x, weight, bias, mean, invstd});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    Tensor dy = grads[0].to(saved[0].scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    return is_bf16(saved[0]) ? backward_of<uint16_t>(saved[0], saved[1], saved[2], saved[3], saved[4], dy)
                             : backward_of<float>(saved[0], saved[1], saved[2], saved[3], saved[4], dy);
  }
};

}  // namespace

// Called by shim.cpp, which catches what this throws.
Tensor edgeloop_norm_silu_train(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                                double momentum, double eps) {
  TORCH_CHECK(x.dim() == 4 && x.device().is_cpu() && x.numel() > 0, "norm and SiLU take a CPU tensor [N, C, H, W], not ", x.sizes());
  TORCH_CHECK(is_bf16(x) || x.scalar_type() == at::kFloat, "norm and SiLU take float32 or bf16, not ", x.scalar_type());
  for (const auto& t : {weight, bias, running_mean, running_var})
    TORCH_CHECK(t.scalar_type() == at::kFloat && t.is_contiguous() && t.numel() == x.size(1), "norm and SiLU: parameters are float32, one a channel");
  return NormSilu::apply(x, weight, bias, running_mean, running_var, momentum, eps);
}
