// SPDX-License-Identifier: BSL-1.0
// A dma-buf from the system heap, or where there is none from udmabuf: written and read by the CPU between START and
// END.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include <paddock/buffer/cpu_access.hpp>
#include <paddock/kernel/dma_heap.hpp>
#include <paddock/kernel/udmabuf.hpp>

using paddock::access;
using paddock::result;

namespace {

result<paddock::kernel::dma_buf_fd> allocate() {
  if (const auto heap = paddock::kernel::dma_heap::open("system")) {
    return heap->allocate(65536, "paddock example");
  }
  PADDOCK_TRY(const auto device, paddock::kernel::udmabuf_device::open());
  PADDOCK_TRY(auto buffer, paddock::kernel::udmabuf::create(device, 65536));
  return std::move(buffer).release().first;
}

result<void> run() {
  PADDOCK_TRY(const auto buffer, allocate());
  fmt::print("a dma-buf of {} bytes, inode {}\n", buffer.size(), buffer.id().inode);
  PADDOCK_TRY(const auto mapping, buffer.map(access::read_write));
  {
    PADDOCK_TRY(auto writing, paddock::cpu_access<access::write>::begin(mapping));
    std::ranges::fill(writing.bytes(), std::byte{42});
    PADDOCK_TRY_VOID(writing.finish());  // Without it the guard's end does the same, and reports an error elsewhere.
  }
  PADDOCK_TRY(const auto reading, paddock::cpu_access<access::read>::begin(mapping));
  const auto equal = std::ranges::count(reading.bytes(), std::byte{42});
  fmt::print("{} bytes read back\n", equal);
  return {};
}

}  // namespace

int main() {
  if (const auto done = run(); !done) {
    fmt::print("{}\n", done.error());
    return done.error() == paddock::errc::not_found ? 77
                                                    : 1;  // 77: this kernel has neither, so there is nothing to show.
  }
}
