// What tch 0.26 does not bind: autocast per device type, channels-last, optimiser and EMA steps over lists of tensors.
// Tensors cross as tch hands them out: a pointer to an at::Tensor. No exception may cross into Rust: every function that
// can throw returns NULL, or a message that the caller frees with edgeloop_torch_free.
#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

at::Tensor edgeloop_norm_silu_train(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& running_mean,
                                    const at::Tensor& running_var, double momentum, double eps);

namespace {

at::Tensor& tensor(void* p) { return *static_cast<at::Tensor*>(p); }

template <typename F>
char* guarded(F&& f) {
  try {
    f();
    return nullptr;
  } catch (const c10::Error& e) {
    return strdup(e.what_without_backtrace());
  } catch (const std::exception& e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

c10::DeviceType device_type(int device) { return device == 0 ? at::kCPU : at::kCUDA; }

std::vector<at::Tensor> list(void** p, int64_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (int64_t i = 0; i < n; i++) out.push_back(tensor(p[i]));
  return out;
}

// Parameters that took part in the loss, with their gradients and per-parameter state in the same order. The fused kernels
// walk raw memory, so the three must have the same strides; autograd nearly always sees to that, a copy does where it did not.
struct Group {
  std::vector<at::Tensor> params, grads, first, second;
};

at::Tensor same_layout(const at::Tensor& t, const at::Tensor& like) {
  if (t.strides() == like.strides()) return t;
  auto out = at::empty_like(like);
  out.copy_(t);
  return out;
}

Group gather(void** params, void** first, void** second, int64_t n) {
  Group g;
  for (int64_t i = 0; i < n; i++) {
    const auto& p = tensor(params[i]);
    const auto& grad = p.grad();
    if (!grad.defined()) continue;
    TORCH_CHECK(p.is_non_overlapping_and_dense(), "parameter ", i, " is not densely stored");
    TORCH_CHECK(tensor(first[i]).strides() == p.strides(), "optimiser state of parameter ", i, " has another memory layout");
    g.params.push_back(p);
    g.grads.push_back(same_layout(grad, p));
    g.first.push_back(tensor(first[i]));
    if (second) {
      TORCH_CHECK(tensor(second[i]).strides() == p.strides(), "optimiser state of parameter ", i, " has another memory layout");
      g.second.push_back(tensor(second[i]));
    }
  }
  return g;
}

std::optional<at::Tensor> divisor(const Group& g, double by) {
  if (by == 1.0) return std::nullopt;
  return at::full({}, by, g.params[0].options().requires_grad(false));
}

}  // namespace

extern "C" {

void edgeloop_torch_free(char* message) { std::free(message); }

int edgeloop_autocast_enabled(int device) { return at::autocast::is_autocast_enabled(device_type(device)); }
int edgeloop_autocast_dtype(int device) { return static_cast<int>(at::autocast::get_autocast_dtype(device_type(device))); }

void edgeloop_autocast_set(int device, int enabled, int dtype) {
  at::autocast::set_autocast_dtype(device_type(device), static_cast<at::ScalarType>(dtype));
  at::autocast::set_autocast_enabled(device_type(device), enabled != 0);
}

void edgeloop_autocast_enter() { at::autocast::increment_nesting(); }
// The cache keeps bf16 copies of the weights for one forward pass; it must die before the optimiser changes them.
void edgeloop_autocast_leave() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
}

char* edgeloop_channels_last(void* t, void** out) {
  return guarded([&] { *out = new at::Tensor(tensor(t).contiguous(at::MemoryFormat::ChannelsLast)); });
}

char* edgeloop_norm_silu(void* x, void* weight, void* bias, void* mean, void* var, double momentum, double eps, void** out) {
  return guarded([&] {
    *out = new at::Tensor(edgeloop_norm_silu_train(tensor(x), tensor(weight), tensor(bias), tensor(mean), tensor(var), momentum, eps));
  });
}

int edgeloop_is_channels_last(void* t) { return tensor(t).is_contiguous(at::MemoryFormat::ChannelsLast); }

char* edgeloop_grad_norm(void** params, int64_t n, double* out) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> grads;
    for (int64_t i = 0; i < n; i++) {
      const auto& grad = tensor(params[i]).grad();
      if (grad.defined()) grads.push_back(grad);
    }
    *out = grads.empty() ? 0.0 : at::linalg_vector_norm(at::stack(at::_foreach_norm(grads, 2))).item<double>();
  });
}

char* edgeloop_clear_grads(void** params, int64_t n) {
  return guarded([&] {
    for (int64_t i = 0; i < n; i++) tensor(params[i]).mutable_grad().reset();
  });
}

char* edgeloop_sgd_step(void** params, void** momentum_buffers, int64_t n, double lr, double momentum, double weight_decay,
                        int nesterov, double divide_grads_by) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto g = gather(params, momentum_buffers, nullptr, n);
    if (g.params.empty()) return;
    if (momentum == 0.0) g.first.clear();  // the kernel insists
    at::_fused_sgd_(g.params, g.grads, g.first, weight_decay, momentum, lr, /*dampening=*/0.0, nesterov != 0,
                    /*maximize=*/false, /*is_first_step=*/false, divisor(g, divide_grads_by));
  });
}

char* edgeloop_adamw_step(void** params, void** exp_avgs, void** exp_avg_sqs, int64_t n, double step, double lr, double beta1,
                          double beta2, double eps, double weight_decay, double divide_grads_by) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto g = gather(params, exp_avgs, exp_avg_sqs, n);
    if (g.params.empty()) return;
    std::vector<at::Tensor> steps(g.params.size(), at::full({}, step, g.params[0].options().requires_grad(false)));
    at::_fused_adamw_(g.params, g.grads, g.first, g.second, {}, steps, lr, beta1, beta2, weight_decay, eps,
                      /*amsgrad=*/false, /*maximize=*/false, divisor(g, divide_grads_by));
  });
}

char* edgeloop_ema_step(void** averages, void** values, int64_t n, double decay) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    if (n == 0) return;
    at::_foreach_lerp_(list(averages, n), list(values, n), at::Scalar(1.0 - decay));
  });
}

char* edgeloop_copy(void** to, void** from, int64_t n) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    if (n == 0) return;
    at::_foreach_copy_(list(to, n), list(from, n));
  });
}
}
