#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Shows every check a good tree, which it must accept, and bad ones, which it must refuse for the right reason."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True  # The source tree stays as it was.
import checks  # noqa: E402
import summary  # noqa: E402

HEADER = "// SPDX-License-Identifier: BSL-1.0\n#pragma once\n"
SPDX = "# SPDX-License-Identifier: BSL-1.0\n"


class Sample(unittest.TestCase):
    def complaints(self, check, files):
        """What `check` says about a tree of these files."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in files.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check(root)

    def accepts(self, check, files):
        self.assertEqual(self.complaints(check, files), [])

    def refuses(self, check, files, text):
        found = self.complaints(check, files)
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])


class IncludeDirection(Sample):
    def header(self, name, line):
        return {f"include/paddock/{name}": f"{HEADER}{line}\n"}

    def test_downwards_is_right(self):
        for name, line in [
            ("buffer/a.hpp", "#include <paddock/resv/b.hpp>"),
            ("buffer/a.hpp", "#include <paddock/pci/b.hpp>"),
            ("base/a.hpp", "#include <paddock/detail/b.hpp>"),
            ("drm/a.hpp", "#include <paddock/kernel/b.hpp>"),
            ("vfio/a.hpp", "#include <paddock/kernel/b.hpp>"),
            ("drm/a.hpp", "#include <xf86drm.h>"),
            ("pci/read_libpci.hpp", "#include <pci/pci.h>"),
            ("fence/a.hpp", "#include <vector>"),
        ]:
            with self.subTest(name=name, line=line):
                self.accepts(checks.include_direction, self.header(name, line))

    def test_upwards_and_sideways_is_wrong(self):
        for name, line in [
            ("base/a.hpp", "#include <paddock/fence/b.hpp>"),
            ("policy/a.hpp", "#include <paddock/fence/b.hpp>"),
            ("fence/a.hpp", "#include <paddock/resv/b.hpp>"),
            ("resv/a.hpp", "#  include <paddock/buffer/b.hpp>"),
            ("buffer/a.hpp", "#include <paddock/kernel/b.hpp>"),
            ("pci/a.hpp", "#include <paddock/policy/b.hpp>"),
            ("detail/a.hpp", "#include <paddock/fence/b.hpp>"),
            ("kernel/a.hpp", "#include <paddock/vfio/b.hpp>"),
            ("vfio/a.hpp", "#include <paddock/drm/b.hpp>"),
            ("fence/a.hpp", "#include <paddock/paddock.hpp>"),
            ("paddock.hpp", "#include <paddock/kernel/b.hpp>"),
        ]:
            with self.subTest(name=name, line=line):
                self.refuses(checks.include_direction, self.header(name, line), "may not include")

    def test_other_peoples_headers(self):
        for name, line, text in [
            ("pci/a.hpp", "#include <pci/pci.h>", "libpci"),
            ("buffer/a.hpp", "#include <paddock/pci/read_libpci.hpp>", "libpci"),
            ("kernel/a.hpp", "#include <xf86drm.h>", "libdrm"),
            ("vfio/a.hpp", "#include <linux/vfio.h>", "base/uapi"),
            ("kernel/a.hpp", "#include <drm/drm.h>", "libdrm"),
            ("base/a.hpp", '#include "b.hpp"', "relative"),
            ("base/a.hpp", "#if __has_include(<expected>)", "disagree"),
            ("gadgets/a.hpp", "", "no room"),
        ]:
            with self.subTest(name=name, line=line):
                self.refuses(checks.include_direction, self.header(name, line), text)


class HeaderSize(Sample):
    def headers(self, *lengths):
        return {f"include/paddock/base/h{i}.hpp": "\n" * length for i, length in enumerate(lengths)}

    def test_small_headers_are_right(self):
        self.accepts(checks.header_size, self.headers(180, 100, 50, 20, 90, 150, 170, 30, 400, 600))

    def test_large_ones_are_not(self):
        self.refuses(checks.header_size, self.headers(*[10] * 20, 601), "601 lines")
        self.refuses(checks.header_size, self.headers(181, 181, 181), "median")
        self.refuses(checks.header_size, self.headers(*[10] * 8, 401, 401), "one header in ten")
        self.refuses(checks.header_size, {}, "no headers")


class RepositoryWords(Sample):
    def test_plain_files_are_right(self):
        self.accepts(
            checks.repository_words,
            {
                "a.py": f"{SPDX}# see https://docs.kernel.org/driver-api\npath = f'{{prefix}}/wo" "rk/x'\n",
                "b.json": "{}",
                "README.md": "text",
                "CMakeLists.txt": SPDX,
                "list.txt": "a\nb",
            },
        )

    def test_others_are_not(self):
        for text, complaint in [
            ("print(1)\n", "SPDX"),
            (f"{SPDX}# TO" "DO: later\n", "unfinished"),
            (f"{SPDX}x = '/ho" "me/me/x'\n", "one machine"),
            (f"{SPDX}x = '/wo" "rk/x'\n", "one machine"),
            (f"{SPDX}x = 'https" "://example.org/x'\n", "documentation hosts"),
            (f"{SPDX}x = 'deb." "example.org'\n", "package host"),
        ]:
            with self.subTest(text=text):
                self.refuses(checks.repository_words, {"a.py": text}, complaint)
        self.refuses(checks.repository_words, {"CMakeLists.txt": "project(x)\n"}, "SPDX")


class MemoryOrder(Sample):
    def header(self, text):
        return {"include/paddock/fence/a.hpp": HEADER + text}

    def test_a_reason_near_by_is_right(self):
        self.accepts(checks.memory_order_comments, self.header("x.load(std::memory_order_acquire);  // order: with put.\n"))
        self.accepts(checks.memory_order_comments, self.header("// order: with put.\n\n\nx.load(std::memory_order::acquire);\n"))
        self.accepts(checks.memory_order_comments, self.header("x.load();\nx.load(std::memory_order_seq_cst);\n"))
        self.accepts(checks.memory_order_comments, self.header("// A memory_order_relaxed load would not do.\n"))

    def test_silence_is_not(self):
        for text in [
            "x.load(std::memory_order_acquire);\n",
            "x.load(std::memory_order::relaxed);  // fast\n",
            "// order: with put.\n\n\n\nx.load(std::memory_order_acquire);\n",
            "// order:\nx.load(std::memory_order_acquire);\n",
        ]:
            with self.subTest(text=text):
                self.refuses(checks.memory_order_comments, self.header(text), "order:")


class NodiscardResults(Sample):
    def header(self, text):
        return {"include/paddock/base/a.hpp": HEADER + text}

    def test_what_cannot_be_ignored_is_right(self):
        for text in [
            "[[nodiscard]] result<int> f();\n",
            "  [[nodiscard]] static result<std::span<int>> f() noexcept {\n",
            "template <class T>\n[[nodiscard]] inline result<T> f(T t) {\n",
            "[[nodiscard]]\nresult<int> f();\n",
            "inline result<address> address::parse(std::string_view text) {\n",
            "  static result<int> f(const M&& mapping,\n                       int more) = delete;\n",
            "// result<int> f();\n",
            "  result<int> member_;\n",
        ]:
            with self.subTest(text=text):
                self.accepts(checks.nodiscard_results, self.header(text))

    def test_what_can_is_not(self):
        for text in [
            "result<int> f();\n",
            "  static result<std::span<int>> f() noexcept {\n",
            "inline paddock::result<void> wait_for(fence& f, deadline until) noexcept {\n",
            "template <class T> result<T> f(T t);\n",
        ]:
            with self.subTest(text=text):
                self.refuses(checks.nodiscard_results, self.header(text), "nodiscard")


class DocsInvariants(Sample):
    def tree(self, row):
        return {
            "docs/invariants.md": f"| Promise | Defined in | Pinned by |\n|---|---|---|\n{row}\n",
            "include/a.hpp": "",
            "tests/unit/a.cpp": 'TEST_CASE("it holds") {}',
            "tests/house/CMakeLists.txt": "add_test(NAME house.x COMMAND x)",
        }

    def test_what_exists_is_right(self):
        self.accepts(checks.docs_invariants, self.tree('| P | `include/a.hpp` | `tests/unit/a.cpp`, "it holds" |'))
        self.accepts(checks.docs_invariants, self.tree('| P | `include/a.hpp` | `tests/house`, "house.x" |'))

    def test_what_does_not_is_wrong(self):
        for row, text in [
            ('| P | `include/a.hpp` | `tests/unit/a.cpp`, "it flies" |', "it flies"),
            ("| P | `include/b.hpp` | `tests/unit/a.cpp` |", "include/b.hpp"),
            ("| P | `include/a.hpp` | `tests/unit/b.cpp` |", "tests/unit/b.cpp"),
            ("| P | `include/a.hpp` | nothing |", "no test"),
            ("| P | somewhere | `tests/unit/a.cpp` |", "says not where"),
            ("", "no rows"),
        ]:
            with self.subTest(row=row):
                self.refuses(checks.docs_invariants, self.tree(row), text)


class Summary(Sample):
    JUNIT = """<testsuite>
      <testcase name="good" status="run"/>
      <testcase name="bad" status="fail"><failure message=""/></testcase>
      <testcase name="away" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
        <system-out>x\nSKIPPED: no such device\n</system-out></testcase>
      <testcase name="unbuilt" status="notrun"><skipped message="Unable to find executable"/></testcase>
    </testsuite>"""

    def test_outcomes_are_told_apart(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "junit.xml"
            path.write_text(self.JUNIT)
            tests = summary.read_lane(path)
        self.assertEqual([outcome for _, outcome, _ in tests], ["passed", "failed", "skipped", "failed"])
        lines, failures = summary.summarize([("dev", 1, tests)])
        self.assertEqual(failures, 2)
        self.assertIn("dev: skipped away: no such device", lines)
        self.assertEqual(lines[-1], "33% tests passed, 2 tests failed out of 3")

    def test_all_good(self):
        lines, failures = summary.summarize([("vm", 1, [("boots", "passed", "")])])
        self.assertEqual((lines[-1], failures), ("100% tests passed, 0 tests failed out of 1", 0))
        self.assertIn("vm: passed boots", lines)
        lines, _ = summary.summarize([("vm-7.2-full", 1, [("boots", "passed", "")])])
        self.assertIn("vm-7.2-full: passed boots", lines)

    def test_a_lane_without_a_test_that_ran_is_a_failure(self):
        for tests in [[], [("away", "skipped", "x")]]:
            lines, failures = summary.summarize([("dev", 1, [("a", "passed", "")]), ("vm", 1, tests)])
            self.assertEqual((lines[-1], failures), ("50% tests passed, 1 tests failed out of 2", 1))
        self.assertEqual(summary.read_lane("does not exist"), [])


if __name__ == "__main__":
    unittest.main()
