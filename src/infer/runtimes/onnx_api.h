#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

/// ONNX Runtime's C API, declared by hand: the library comes without headers. The API is a table of functions to which
/// each release appends; version 5 (ONNX Runtime 1.5) has all that we call. The numbers are places in that table.
namespace lathe::infer::onnx {

struct Env;
struct Status;
struct Session;
struct SessionOptions;
struct Value;
struct MemoryInfo;
struct TypeInfo;
struct TensorTypeInfo;
struct Allocator;

inline constexpr std::uint32_t kApiVersion = 5;

enum ElementType {
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBfloat16 = 16
};

/// Every call that can fail gives null, or a Status that must be released.
struct Api {
  const char* (*error_message)(const Status*);
  Status* (*create_env)(int level, const char* name, Env**);
  Status* (*create_session)(const Env*, const char* path, const SessionOptions*, Session**);
  Status* (*run)(Session*, const void* options, const char* const* input_names, const Value* const* inputs,
                 std::size_t input_count, const char* const* output_names, std::size_t output_count, Value** outputs);
  Status* (*create_session_options)(SessionOptions**);
  Status* (*set_log_severity)(SessionOptions*, int level);
  Status* (*set_optimization_level)(SessionOptions*, int level);
  Status* (*set_intra_op_threads)(SessionOptions*, int count);
  Status* (*set_inter_op_threads)(SessionOptions*, int count);
  Status* (*add_config_entry)(SessionOptions*, const char* key, const char* value);
  Status* (*input_count)(const Session*, std::size_t*);
  Status* (*output_count)(const Session*, std::size_t*);
  Status* (*input_type)(const Session*, std::size_t, TypeInfo**);
  Status* (*output_type)(const Session*, std::size_t, TypeInfo**);
  Status* (*input_name)(const Session*, std::size_t, Allocator*, char**);
  Status* (*output_name)(const Session*, std::size_t, Allocator*, char**);
  Status* (*create_tensor)(Allocator*, const std::int64_t* shape, std::size_t rank, int type, Value**);
  Status* (*create_tensor_with_data)(const MemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape,
                                     std::size_t rank, int type, Value**);
  Status* (*is_tensor)(const Value*, int*);
  Status* (*tensor_data)(Value*, void**);
  Status* (*fill_strings)(Value*, const char* const* texts, std::size_t count);
  Status* (*strings_length)(const Value*, std::size_t*);
  Status* (*strings_content)(const Value*, void* out, std::size_t bytes, std::size_t* offsets, std::size_t count);
  Status* (*tensor_info_of_type)(const TypeInfo*, const TensorTypeInfo**);
  Status* (*element_type)(const TensorTypeInfo*, int*);
  Status* (*rank)(const TensorTypeInfo*, std::size_t*);
  Status* (*dimensions)(const TensorTypeInfo*, std::int64_t*, std::size_t);
  Status* (*tensor_info_of_value)(const Value*, TensorTypeInfo**);
  Status* (*create_cpu_memory_info)(int allocator, int memory, MemoryInfo**);
  Status* (*allocator_free)(Allocator*, void*);
  Status* (*default_allocator)(Allocator**);
  void (*release_env)(Env*);
  void (*release_status)(Status*);
  void (*release_memory_info)(MemoryInfo*);
  void (*release_session)(Session*);
  void (*release_value)(Value*);
  void (*release_type_info)(TypeInfo*);
  void (*release_tensor_info)(TensorTypeInfo*);
  void (*release_session_options)(SessionOptions*);

  /// Errors: `invalid`, with the library's words; releases `status`.
  Result<void> check(Status* status) const;
};

/// The library with one environment, opened with the first model: from LATHE_ONNXRUNTIME, or libonnxruntime.so.1 in
/// lib/ beside the folder of this program, or on the loader's path. Errors: `unavailable`, naming what to install.
struct Runtime {
  Api api;
  /// Puts a session on an NVIDIA GPU, by its number among those that this process sees. Null: the library has no way
  /// to.
  Status* (*use_cuda)(SessionOptions*, int device) = nullptr;
  Env* env;
  MemoryInfo* cpu;
  Allocator* allocator;
};
const Result<Runtime>& runtime();

/// Frees what the API gave.
template <auto Member>
struct Release {
  template <class T>
  void operator()(T* pointer) const {
    (runtime()->api.*Member)(pointer);
  }
};
using SessionPtr = std::unique_ptr<Session, Release<&Api::release_session>>;
using SessionOptionsPtr = std::unique_ptr<SessionOptions, Release<&Api::release_session_options>>;
using ValuePtr = std::unique_ptr<Value, Release<&Api::release_value>>;
using TypeInfoPtr = std::unique_ptr<TypeInfo, Release<&Api::release_type_info>>;
using TensorTypeInfoPtr = std::unique_ptr<TensorTypeInfo, Release<&Api::release_tensor_info>>;

}  // namespace lathe::infer::onnx
