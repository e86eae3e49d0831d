# SPDX-License-Identifier: BSL-1.0
# What only this project's own tests and examples are compiled with; nothing of it reaches a consumer.
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# paddock_developer_options(TARGET): every warning that the project promises to be free of, as an error.
function(paddock_developer_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
  if(PADDOCK_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${PADDOCK_SANITIZE} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # g++ says of itself that this warning is unreliable in instrumented code; 12 finds std::regex guilty.
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
    endif()
    target_link_options(${target} PRIVATE -fsanitize=${PADDOCK_SANITIZE})
  endif()
  if(PADDOCK_NO_EXCEPTIONS)
    target_compile_options(${target} PRIVATE -fno-exceptions -fno-rtti)
  endif()
endfunction()

set(PADDOCK_SANITIZE "" CACHE STRING "Sanitizers for tests and examples, as -fsanitize takes them")
option(PADDOCK_NO_EXCEPTIONS "Build tests and examples with -fno-exceptions -fno-rtti" OFF)
