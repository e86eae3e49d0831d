// SPDX-License-Identifier: BSL-1.0
#include <paddock/resv/usage.hpp>

#include <string_view>

#include "catch.hpp"

namespace paddock {

TEST_CASE("a reader waits for writers, a writer for readers too, nobody for bookkeeping") {
  CHECK(usage_for(access::read) == usage::write);
  CHECK(usage_for(access::write) == usage::read);
  CHECK(usage_for(access::read_write) == usage::read);
}

TEST_CASE("a job stands as what it does to the bytes") {
  CHECK(usage_of(access::read) == usage::read);
  CHECK(usage_of(access::write) == usage::write);
  CHECK(usage_of(access::read_write) == usage::write);
}

TEST_CASE("usages go from the strongest to the weakest, and have names") {
  CHECK(usage::kernel < usage::write);
  CHECK(usage::write < usage::read);
  CHECK(usage::read < usage::bookkeep);
  CHECK(std::string_view(name(usage::kernel)) == "kernel");
  CHECK(std::string_view(name(usage::write)) == "write");
  CHECK(std::string_view(name(usage::read)) == "read");
  CHECK(std::string_view(name(usage::bookkeep)) == "bookkeep");
}

}  // namespace paddock
