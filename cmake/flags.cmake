# Compiler flags: one list for the tree, and what each flavour adds.
add_compile_options(
    -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
    -Wpointer-arith -Wwrite-strings -Wcast-qual -Wvla -Wformat=2 -Wundef -Wswitch-enum
    -Wimplicit-fallthrough -Wconversion -Wno-sign-conversion -Wnull-dereference -g)
add_compile_definitions(_GNU_SOURCE H2O_USE_LIBUV=0 OCTROI_VERSION="${PROJECT_VERSION}")

if(OCTROI_FLAVOUR STREQUAL "release")
    add_compile_options(-O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE)
    add_link_options(-pie -Wl,-z,relro,-z,now)
elseif(OCTROI_FLAVOUR STREQUAL "asan")
    add_compile_options(-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
elseif(OCTROI_FLAVOUR STREQUAL "tsan")
    add_compile_options(-O1 -fno-omit-frame-pointer -fsanitize=thread)
    add_link_options(-fsanitize=thread)
elseif(OCTROI_FLAVOUR STREQUAL "fuzz")
    add_compile_options(-O1 -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all)
    add_link_options(-fsanitize=address,undefined)
elseif(OCTROI_FLAVOUR STREQUAL "debug")
    add_compile_options(-O0)
else()
    message(FATAL_ERROR "OCTROI_FLAVOUR is ${OCTROI_FLAVOUR}; it is one of debug, asan, tsan, release, fuzz")
endif()
