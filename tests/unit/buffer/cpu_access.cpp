// SPDX-License-Identifier: BSL-1.0
#include <paddock/buffer/cpu_access.hpp>

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "policies.hpp"

// In the namespace, because at global scope `access` is also access(2).
namespace paddock {

namespace {

PADDOCK_TEST_POLICIES
// A buffer that writes down what is done to it.
struct recorder {
  std::vector<std::string> calls;
  std::vector<error> lost;
  int fail_start{0};  // The buffer (1, 2, …) whose START fails.
  int fail_end{0};
  bool fail_all_ends{false};
};
recorder record;

char direction_of(access what) { return reads(what) && writes(what) ? 'x' : writes(what) ? 'w' : 'r'; }

struct fake_handle {
  int number;
  buffer_id identity;

  buffer_id id() const noexcept { return identity; }
  result<void> sync_start(access what) const noexcept {
    record.calls.push_back("S" + std::to_string(number) + direction_of(what));
    return record.fail_start == number ? result<void>(fail(errc::no_device, "START")) : result<void>();
  }
  result<void> sync_end(access what) const noexcept {
    record.calls.push_back("E" + std::to_string(number) + direction_of(what));
    const bool bad = record.fail_all_ends || record.fail_end == number;
    return bad ? result<void>(fail(error{errc::io, number, "END"})) : result<void>();
  }
};

struct fake_mapping {
  int number;
  buffer_id identity{1, static_cast<std::uint64_t>(number)};
  access allowed{access::read_write};
  mutable std::byte memory[4]{};

  fake_handle sync_handle() const noexcept { return {number, identity}; }
  access permits() const noexcept { return allowed; }
  std::span<std::byte> unsynchronized_bytes() const noexcept { return memory; }
};

using calls = std::vector<std::string>;

struct fresh_record {
  fresh_record() {
    record = {};
    set_lost_error_handler([](const error& e) noexcept { record.lost.push_back(e); });
  }
  ~fresh_record() { set_lost_error_handler(nullptr); }
};

using reading = cpu_access<access::read>;
using writing = cpu_access<access::write>;
using both = cpu_access<access::read_write>;

}  // namespace

static_assert(cpu_sync_handle<fake_handle> && cpu_mapping<fake_mapping> && !cpu_mapping<fake_handle>);
static_assert(std::is_same_v<decltype(std::declval<reading&>().bytes()), std::span<const std::byte>>);
static_assert(std::is_same_v<decltype(std::declval<writing&>().bytes()), std::span<std::byte>>);
static_assert(std::is_same_v<decltype(std::declval<both&>().bytes()), std::span<std::byte>>);
static_assert(!std::is_copy_constructible_v<reading> && !std::is_copy_assignable_v<reading>);
static_assert(!std::is_default_constructible_v<reading> &&
              !std::is_default_constructible_v<cpu_access_planes<access::read>>);
static_assert(!std::is_copy_constructible_v<cpu_access_planes<access::read>>);

// A guard must not outlive its mapping, so a temporary is no mapping to begin with.
template <class Guard, class... M>
concept can_begin = requires(M&&... mappings) {
  Guard::begin(std::forward<M>(mappings)...);
};
static_assert(can_begin<reading, fake_mapping&> && can_begin<reading, const fake_mapping&>);
static_assert(!can_begin<reading, fake_mapping>);
static_assert(can_begin<cpu_access_planes<access::read>, fake_mapping&, const fake_mapping&>);
static_assert(!can_begin<cpu_access_planes<access::read>, fake_mapping&, fake_mapping>);
static_assert(can_begin<cpu_access_planes<access::read>, std::span<fake_mapping>>);
static_assert(!can_begin<cpu_access_planes<access::read>, std::vector<fake_mapping>>);

TEST_CASE_METHOD(fresh_record, "a guard ends what it started, in the same direction") {
  const fake_mapping buffer{1};
  { const auto guard = reading::begin(buffer); }
  { const auto guard = writing::begin(buffer); }
  { const auto guard = both::begin(buffer); }
  CHECK(record.calls == calls{"S1r", "E1r", "S1w", "E1w", "S1x", "E1x"});
}

TEST_CASE_METHOD(fresh_record, "a START that fails gives no pointer and no END") {
  const fake_mapping buffer{1};
  record.fail_start = 1;
  const auto guard = both::begin(buffer);
  REQUIRE_FALSE(guard);
  CHECK(guard.error() == errc::no_device);
  CHECK(record.calls == calls{"S1x"});
}

TEST_CASE_METHOD(fresh_record, "finish returns the error of END and ends once") {
  const fake_mapping buffer{1};
  record.fail_end = 1;
  {
    auto guard = writing::begin(buffer);
    REQUIRE(guard);
    CHECK(guard->bytes().data() == buffer.memory);
    const auto ended = guard->finish();
    REQUIRE_FALSE(ended);
    CHECK(ended.error() == errc::io);
    CHECK(guard->bytes().empty());
    CHECK_FALSE(guard->is_open());
    CHECK(guard->finish());
  }
  CHECK(record.calls == calls{"S1w", "E1w"});
  CHECK(record.lost.empty());
}

TEST_CASE_METHOD(fresh_record, "an END that fails in a destructor reaches the lost-error handler") {
  const fake_mapping buffer{1};
  record.fail_end = 1;
  { const auto guard = writing::begin(buffer); }
  REQUIRE(record.lost.size() == 1);
  CHECK(record.lost[0] == errc::io);
}

TEST_CASE_METHOD(fresh_record, "moving a guard moves the END") {
  const fake_mapping buffer{1};
  {
    auto guard = reading::begin(buffer);
    REQUIRE(guard);
    {
      const reading inner = std::move(*guard);
      CHECK(guard->bytes().empty());  // NOLINT(bugprone-use-after-move): the moved-from state is promised.
      CHECK_FALSE(guard->is_open());
      CHECK(inner.bytes().size() == 4);
    }
    CHECK(record.calls == calls{"S1r", "E1r"});
    CHECK(guard->finish());
  }
  CHECK(record.calls == calls{"S1r", "E1r"});
}

TEST_CASE_METHOD(fresh_record, "assigning over a guard ends the old bracket first") {
  const fake_mapping one{1};
  const fake_mapping two{2};
  {
    auto guard = reading::begin(one);
    auto next = reading::begin(two);
    REQUIRE((guard && next));
    *guard = std::move(*next);
    CHECK(record.calls == calls{"S1r", "S2r", "E1r"});
    CHECK(guard->bytes().data() == two.memory);
    *guard = std::move(*&*guard);
    CHECK(guard->is_open());
    CHECK(guard->bytes().size() == 4);
  }
  CHECK(record.calls == calls{"S1r", "S2r", "E1r", "E2r"});
}

TEST_CASE_METHOD(fresh_record, "a mapping made for reading cannot be opened for writing") {
  const fake_mapping buffer{1, {1, 1}, access::read};
  CHECK(reading::begin(buffer));
  record.calls.clear();
  const auto guard = both::begin(buffer);
  REQUIRE_FALSE(guard);
  CHECK(guard.error() == errc::permission);
  CHECK(cpu_access_planes<access::write>::begin(buffer).error() == errc::permission);
  CHECK(record.calls.empty());
}

TEST_CASE_METHOD(fresh_record, "bytes mapped elsewhere are bracketed by the buffer") {
  const fake_mapping buffer{1};
  const std::byte elsewhere[8]{};
  {
    const auto guard = reading::begin(buffer, elsewhere);
    REQUIRE(guard);
    CHECK(guard->bytes().data() == elsewhere);
  }
  CHECK(record.calls == calls{"S1r", "E1r"});
}

TEST_CASE_METHOD(fresh_record, "planes are opened in order and closed in the opposite one") {
  const fake_mapping planes[]{{1}, {2}, {3}};
  {
    const auto guard = cpu_access_planes<access::write>::begin(planes);
    REQUIRE(guard);
    CHECK(guard->size() == 3);
    CHECK(guard->plane(1).data() == planes[1].memory);
    CHECK(guard->plane(3).empty());
  }
  CHECK(record.calls == calls{"S1w", "S2w", "S3w", "E3w", "E2w", "E1w"});
}

TEST_CASE_METHOD(fresh_record, "when one plane's START fails, those before it get END") {
  const fake_mapping planes[]{{1}, {2}, {3}};
  record.fail_start = 3;
  const auto guard = cpu_access_planes<access::read>::begin(planes);
  REQUIRE_FALSE(guard);
  CHECK(guard.error() == errc::no_device);
  CHECK(record.calls == calls{"S1r", "S2r", "S3r", "E2r", "E1r"});
  record.calls.clear();
  record.fail_end = 1;
  record.fail_start = 2;
  CHECK_FALSE(cpu_access_planes<access::read>::begin(planes[0], planes[1], planes[2]));
  CHECK(record.calls == calls{"S1r", "S2r", "E1r"});
  CHECK(record.lost.size() == 1);
}

TEST_CASE_METHOD(fresh_record, "finish ends every plane and returns the first error") {
  const fake_mapping planes[]{{1}, {2}, {3}};
  auto guard = cpu_access_planes<access::read>::begin(planes);
  REQUIRE(guard);
  record.fail_all_ends = true;
  const auto ended = guard->finish();
  REQUIRE_FALSE(ended);
  CHECK(ended.error().sys_errno == 3);
  CHECK(record.calls == calls{"S1r", "S2r", "S3r", "E3r", "E2r", "E1r"});
  CHECK(record.lost.size() == 2);
  CHECK(guard->size() == 0);
  CHECK(guard->plane(0).empty());
}

TEST_CASE_METHOD(fresh_record, "planes of one buffer share one bracket, unknown buffers do not") {
  const fake_mapping y{1};
  const fake_mapping uv{2, y.identity};
  {
    const auto guard = cpu_access_planes<access::read>::begin(y, uv);
    REQUIRE(guard);
    CHECK(guard->plane(1).data() == uv.memory);
  }
  CHECK(record.calls == calls{"S1r", "E1r"});
  record.calls.clear();
  const fake_mapping a{1, {}};
  const fake_mapping b{2, {}};
  { const auto guard = cpu_access_planes<access::read>::begin(a, b); }
  CHECK(record.calls == calls{"S1r", "S2r", "E2r", "E1r"});
}

TEST_CASE_METHOD(fresh_record, "moving a guard of planes moves all ENDs") {
  const fake_mapping one{1};
  const fake_mapping two{2};
  {
    auto guard = cpu_access_planes<access::write>::begin(one);
    auto next = cpu_access_planes<access::write>::begin(two);
    REQUIRE((guard && next));
    *guard = std::move(*next);
    CHECK(record.calls == calls{"S1w", "S2w", "E1w"});
    CHECK(next->size() == 0);  // NOLINT(bugprone-use-after-move): the moved-from state is promised.
    const auto last = std::move(*guard);
    CHECK(last.size() == 1);
    CHECK(record.calls.size() == 3);
  }
  CHECK(record.calls == calls{"S1w", "S2w", "E1w", "E2w"});
}

TEST_CASE_METHOD(fresh_record, "no planes, or more than a picture has, are refused") {
  const std::vector<fake_mapping> planes(9, fake_mapping{1});
  using guard = cpu_access_planes<access::read>;
  CHECK(guard::begin(std::span<const fake_mapping>()).error() == errc::invalid_argument);
  CHECK(guard::begin(planes).error() == errc::invalid_argument);
  CHECK(record.calls.empty());
}

}  // namespace paddock
