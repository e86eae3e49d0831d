// SPDX-License-Identifier: BSL-1.0
// A real exporter of dma-bufs that is no part of the kernel's tests: an NVIDIA GPU, by the driver's own library.
#include <dlfcn.h>

#include <cstddef>
#include <memory>

#include <paddock/kernel/dma_buf_fd.hpp>

#include "catch.hpp"

using namespace paddock;

namespace {

/// The few calls of CUDA's driver API that make an allocation and its dma-buf.
class cuda {
 public:
  static constexpr int dma_buf_supported = 124;  ///< CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED.
  static constexpr int dma_buf_fd = 1;           ///< CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD.
  using device_address = unsigned long long;

  cuda() : library_(::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) {
      test::skip("no NVIDIA driver on this machine (libcuda.so.1)");
    }
    find(init, "cuInit");
    find(get_device, "cuDeviceGet");
    find(get_attribute, "cuDeviceGetAttribute");
    find(retain_context, "cuDevicePrimaryCtxRetain");
    find(set_context, "cuCtxSetCurrent");
    find(allocate, "cuMemAlloc_v2");
    find(release, "cuMemFree_v2");
    find(export_range, "cuMemGetHandleForAddressRange");
  }

  int (*init)(unsigned){nullptr};
  int (*get_device)(int*, int){nullptr};
  int (*get_attribute)(int*, int, int){nullptr};
  int (*retain_context)(void**, int){nullptr};
  int (*set_context)(void*){nullptr};
  int (*allocate)(device_address*, std::size_t){nullptr};
  int (*release)(device_address){nullptr};
  int (*export_range)(void*, device_address, std::size_t, int, unsigned long long){nullptr};

 private:
  template <class Function>
  void find(Function& call, const char* name) {
    call = reinterpret_cast<Function>(::dlsym(library_, name));
    if (call == nullptr) {
      test::skip("this NVIDIA driver is too old to make dma-bufs");
    }
  }
  void* library_;  // Never closed: the driver's threads stay.
};

}  // namespace

TEST_CASE("memory of an NVIDIA GPU is a dma-buf of its size, with one identity as its copies have") {
  const cuda driver;
  int device = 0;
  if (driver.init(0) != 0 || driver.get_device(&device, 0) != 0) {
    test::skip("no NVIDIA GPU on this machine");
  }
  int is_supported = 0;
  if (driver.get_attribute(&is_supported, cuda::dma_buf_supported, device) != 0 || is_supported == 0) {
    test::skip("this NVIDIA driver makes no dma-bufs (it is not the open kernel module)");
  }
  void* context = nullptr;
  REQUIRE(driver.retain_context(&context, device) == 0);
  REQUIRE(driver.set_context(context) == 0);
  constexpr std::size_t bytes = std::size_t{4} << 20U;
  cuda::device_address memory = 0;
  REQUIRE(driver.allocate(&memory, bytes) == 0);
  const auto export_all = [&] {
    int fd = -1;
    REQUIRE(driver.export_range(&fd, memory, bytes, cuda::dma_buf_fd, 0) == 0);
    auto adopted = kernel::dma_buf_fd::adopt(unique_fd::adopt(fd));
    REQUIRE(adopted);
    return *std::move(adopted);
  };
  {
    const kernel::dma_buf_fd first = export_all();
    CHECK(first.size() == bytes);
    const auto copy = first.dup();
    REQUIRE(copy);
    CHECK(copy->id() == first.id());
    const auto info = kernel::read_dma_buf_info(first.fd());
    REQUIRE(info);
    CHECK(info->size == bytes);
    CHECK_FALSE(info->exporter.empty());
    const kernel::dma_buf_fd other = export_all();
    CHECK(other.size() == bytes);
    // Its memory is the GPU's: the CPU has no way to it by the dma-buf, or one that the driver grants.
    const auto seen = first.map(access::read);
    CHECK((seen.has_value() || seen.error() == errc::not_mappable || seen.error() == errc::unsupported_by_device));
  }
  CHECK(driver.release(memory) == 0);
}
