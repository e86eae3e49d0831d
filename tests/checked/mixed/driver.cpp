// SPDX-License-Identifier: BSL-1.0
#include <paddock/fence/fence.hpp>

void complete(paddock::fence& job) { job.signal(); }
