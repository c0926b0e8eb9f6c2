// The header in C++: twice, with its functions found by their C names.
#include <holdfast.h>
#include <holdfast.h>

#include <cstdlib>
#include <string>

int main()
{
    char path[] = "/tmp/holdfast-capi-XXXXXX";
    if (mkdtemp(path) == nullptr)
        return 1;
    holdfast_options options;
    holdfast_options_init(&options);
    options.flags = HOLDFAST_CREATE | HOLDFAST_NO_THREAD;
    options.max_bytes = 16 << 20;
    holdfast_store *store = nullptr;
    int result = holdfast_open(path, &options, &store);
    const std::string key = "key", written = "value from C++";
    if (result == HOLDFAST_OK)
        result = holdfast_set(store, key.data(), key.size(), written.data(), written.size(), 0,
                              HOLDFAST_TTL_NEVER, nullptr, nullptr);
    holdfast_buffer value = {};
    if (result == HOLDFAST_OK)
        result = holdfast_get(store, key.data(), key.size(), &value, nullptr);
    const bool same = result == HOLDFAST_OK &&
                      written == std::string(reinterpret_cast<char *>(value.data), value.len);
    holdfast_buffer_free(&value);
    holdfast_close(store);
    return std::system((std::string("rm -r ") + path).c_str()) == 0 && same ? 0 : 1;
}
