# Warnings, hardening and instrumentation for our own code.
add_library(sealane_options INTERFACE)
target_compile_options(sealane_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Werror
  -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports false positives of these inside the standard library at -O2 with sanitizers.
  target_compile_options(sealane_options INTERFACE -Wno-maybe-uninitialized -Wno-stringop-overflow
    -Wno-restrict -Wno-array-bounds)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(sealane_options INTERFACE _GLIBCXX_ASSERTIONS)
else()
  target_compile_definitions(sealane_options INTERFACE _FORTIFY_SOURCE=2)
endif()
if(SEALANE_SANITIZE)
  add_compile_options(-fsanitize=${SEALANE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SEALANE_SANITIZE})
  if(SEALANE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
      add_compile_options(-fno-sanitize=function)
    endif()
  endif()
  if(SEALANE_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # As g++ says it: some tests are smaller then, and one cannot be.
    add_compile_definitions(__SANITIZE_ADDRESS__=1)
  endif()
  if(SEALANE_SANITIZE MATCHES "thread")
    # ThreadSanitizer does not see fences; Asio's queue has its mutex besides.
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
endif()
if(SEALANE_COVERAGE)
  # Atomic: most of it runs on several threads.
  add_compile_options(--coverage -O0 -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
