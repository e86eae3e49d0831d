// SPDX-License-Identifier: BSL-1.0
// A job is added under the lock.
// EXPECT: no matching (member )?function|too few arguments|cannot convert|could not convert|no known conversion
#include <paddock/buffer/attachment.hpp>
#include <paddock/buffer/memory_exporter.hpp>

#include "../../support/buffers.hpp"

using namespace paddock;
using namespace paddock::test;
using memory = dma_buf<memory_exporter>;
using placed = dma_buf<placing_test_exporter>;
using behind_bar = dma_buf<revoking_test_exporter>;

#ifdef PADDOCK_ALLOWED
void f(memory& b, const resv_lock& held, fence_ptr job) {
  static_cast<void>(b.commit(held, std::move(job), access::read));
}
#else
void f(memory& b, fence_ptr job) { static_cast<void>(b.commit(std::move(job), access::read)); }
#endif
