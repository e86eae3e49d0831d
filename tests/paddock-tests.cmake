# SPDX-License-Identifier: BSL-1.0
include(Catch)

# paddock_add_tests(NAME SOURCES f... [LINK target...] [LABEL l])
#
# One Catch2 program; each of its test cases becomes a ctest test "NAME.case" in a process of its own.
function(paddock_add_tests name)
  cmake_parse_arguments(PARSE_ARGV 1 test "" "LABEL" "SOURCES;LINK")
  add_executable(${name} ${test_SOURCES})
  target_link_libraries(${name} PRIVATE paddock_test_main ${test_LINK})
  paddock_developer_options(${name})
  catch_discover_tests(${name} TEST_PREFIX "${name}." PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120
                       LABELS "${test_LABEL}")
endfunction()
