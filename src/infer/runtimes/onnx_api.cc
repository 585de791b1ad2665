#include "infer/runtimes/onnx_api.h"

#include <cstdlib>
#include <filesystem>

#include "infer/runtimes/library.h"

namespace lathe::infer::onnx {
namespace {

struct ApiBase {
  const void* const* (*get_api)(std::uint32_t version);
  const char* (*version)();
};

std::string library_path() {
  if (const char* named = std::getenv("LATHE_ONNXRUNTIME"); named != nullptr && *named != '\0') return named;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = program.parent_path().parent_path() / "lib" / "libonnxruntime.so.1";
  return !error && std::filesystem::exists(beside, error) ? beside.string() : "libonnxruntime.so.1";
}

Api read_table(const void* const* table) {
  Api api{};
  const auto put = [&](auto& function, std::size_t place) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(const_cast<void*>(table[place]));
  };
  put(api.error_message, 2);
  put(api.create_env, 3);
  put(api.create_session, 7);
  put(api.run, 9);
  put(api.create_session_options, 10);
  put(api.set_log_severity, 22);
  put(api.set_optimization_level, 23);
  put(api.set_intra_op_threads, 24);
  put(api.set_inter_op_threads, 25);
  put(api.input_count, 30);
  put(api.output_count, 31);
  put(api.input_type, 33);
  put(api.output_type, 34);
  put(api.input_name, 36);
  put(api.output_name, 37);
  put(api.create_tensor, 48);
  put(api.create_tensor_with_data, 49);
  put(api.is_tensor, 50);
  put(api.tensor_data, 51);
  put(api.fill_strings, 52);
  put(api.strings_length, 53);
  put(api.strings_content, 54);
  put(api.tensor_info_of_type, 55);
  put(api.element_type, 60);
  put(api.rank, 61);
  put(api.dimensions, 62);
  put(api.tensor_info_of_value, 65);
  put(api.create_cpu_memory_info, 69);
  put(api.allocator_free, 76);
  put(api.default_allocator, 78);
  put(api.release_env, 92);
  put(api.release_status, 93);
  put(api.release_memory_info, 94);
  put(api.release_session, 95);
  put(api.release_value, 96);
  put(api.release_type_info, 98);
  put(api.release_tensor_info, 99);
  put(api.release_session_options, 100);
  put(api.add_config_entry, 130);
  return api;
}

Result<Runtime> open() {
  LATHE_TRY(const auto library,
            Library::open(library_path(),
                          "ONNX Runtime's library is missing here; run 'packaging/onnxruntime.sh FOLDER', set "
                          "LATHE_ONNXRUNTIME to FOLDER/libonnxruntime.so.1, start lathe-infer again and deploy again"));
  LATHE_TRY(const auto get_base, library.function<const ApiBase* (*)()>("OrtGetApiBase"));
  const auto* const base = get_base();
  const auto* const table = base->get_api(kApiVersion);
  if (table == nullptr)
    return fail(Code::unavailable,
                std::string("ONNX Runtime ") + base->version() + " is older than 1.5; install a newer");
  Runtime opened{read_table(table), nullptr, nullptr, nullptr, nullptr};
  if (const auto use_cuda =
          library.function<decltype(opened.use_cuda)>("OrtSessionOptionsAppendExecutionProvider_CUDA"))
    opened.use_cuda = *use_cuda;
  constexpr int kWarning = 2;
  LATHE_CHECK(opened.api.check(opened.api.create_env(kWarning, "lathe", &opened.env)));
  constexpr int kArenaAllocator = 1;
  constexpr int kDefaultMemory = 0;
  LATHE_CHECK(opened.api.check(opened.api.create_cpu_memory_info(kArenaAllocator, kDefaultMemory, &opened.cpu)));
  LATHE_CHECK(opened.api.check(opened.api.default_allocator(&opened.allocator)));
  return opened;
}

}  // namespace

Result<void> Api::check(Status* status) const {
  if (status == nullptr) return {};
  std::string why = error_message(status);
  release_status(status);
  return fail(Code::invalid, "ONNX Runtime says: " + why);
}

const Result<Runtime>& runtime() {
  static const Result<Runtime> opened = open();
  return opened;
}

}  // namespace lathe::infer::onnx
