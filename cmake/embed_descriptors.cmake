# cmake -DIN=descriptors.bin -DOUT=file.cc -P embed_descriptors.cmake: what grpc/reflection.h declares.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(..)" "\\\\x\\1" text "${hex}")
# Short literals side by side: compilers limit the length of one.
string(REGEX REPLACE "((\\\\x..)(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?)" "    \"\\1\"\n" text "${text}")
file(WRITE ${OUT} "#include \"infer/grpc/reflection.h\"\n\nnamespace lathe::infer::grpc {\n\nusing namespace std::string_view_literals;\n\n"
  "const std::string_view kDescriptors =\n${text}    \"\"sv;\n\n}  // namespace lathe::infer::grpc\n")
