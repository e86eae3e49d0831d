// SPDX-License-Identifier: BSL-1.0
// Prints docs/errors.md from the table that the library uses.
#include <cstdio>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include <paddock/base/errno_table.hpp>

namespace {

constexpr auto introduction = R"(# Which errno becomes which error

Printed from `include/paddock/base/errno_table.hpp` by `build/dev/tests/house/errors_table`. After a change of the table:

    build/dev/tests/house/errors_table > docs/errors.md

The first row that fits wins, so a call's own meaning of an errno comes before the general one. An errno without a row
becomes `unexpected`. The errno itself stays in `error::sys_errno`, the call in `error::where`. What each code means for
the caller is said beside the enumeration `errc`, in `include/paddock/base/error.hpp`.

| Call | errno | errc |
|---|---|---|
)";

}  // namespace

int main() {
  std::string document = introduction;
  for (const auto& row : paddock::detail::errno_table) {
    const std::string call = row.call.empty() ? "any other" : fmt::format("`{}`", row.call);
    document += fmt::format("| {} | `{}` | `{}` |\n", call, ::strerrorname_np(row.sys_errno), paddock::name(row.code));
  }
  return std::fputs(document.c_str(), stdout) < 0 ? 1 : 0;
}
