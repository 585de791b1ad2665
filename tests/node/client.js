// gRPC's client for JavaScript against a data plane: node client.js PROTO ADDRESS KEY [CERTIFICATE]. Prints what it saw, as JSON.
'use strict';

const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [proto, address, key, certificate] = process.argv.slice(2);
const definition = loader.loadSync(proto, { keepCase: true, longs: Number, defaults: true, oneofs: true });
const Service = grpc.loadPackageDefinition(definition).inference.GRPCInferenceService;
const credentials = certificate ? grpc.credentials.createSsl(fs.readFileSync(certificate)) : grpc.credentials.createInsecure();
const plain = new Service(address, credentials);
const packed = new Service(address, credentials, { 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip });

function metadata(bearer = key) {
  const out = new grpc.Metadata();
  out.set('authorization', `Bearer ${bearer}`);
  return out;
}

// The answer, or {code, details}.
function call(client, method, request, bearer) {
  const deadline = Date.now() + 60000;
  return new Promise((resolve) => {
    client[method](request, metadata(bearer), { deadline }, (error, answer) =>
      resolve(error ? { code: error.code, details: error.details } : answer));
  });
}

function request(values, more = {}) {
  const shape = [values.length / 3, 3];
  return { model_name: 'e', inputs: [{ name: 'x', datatype: 'FP32', shape, contents: { fp32_contents: values } }], ...more };
}

function raw(values) {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => bytes.writeFloatLE(value, i * 4));
  return { model_name: 'e', inputs: [{ name: 'x', datatype: 'FP32', shape: [values.length / 3, 3] }], raw_input_contents: [bytes] };
}

function stream(requests) {
  return new Promise((resolve) => {
    const seen = [];
    const both = plain.ModelStreamInfer(metadata(), { deadline: Date.now() + 60000 });
    both.on('data', (message) => seen.push(message.error_message || message.infer_response.id));
    both.on('status', (status) => resolve({ seen, code: status.code }));
    both.on('error', () => {});
    requests.forEach((each) => both.write(each));
    both.end();
  });
}

async function main() {
  const many = Array.from({ length: 3 * 50000 }, (_, i) => i % 7);
  const answers = {
    live: (await call(plain, 'ServerLive', {})).live,
    metadata: await call(plain, 'ModelMetadata', { name: 'e' }),
    typed: await call(plain, 'ModelInfer', request([1, 2, 3], { id: 'mine' })),
    raw: (await call(plain, 'ModelInfer', raw([1, 2, 3]))).raw_output_contents[0].readFloatLE(0),
    packed: (await call(packed, 'ModelInfer', request(many))).outputs[0].contents.fp32_contents.length,
    wrong: await call(plain, 'ModelInfer', { ...request([1, 2, 3]), inputs: [] }),
    nobody: (await call(plain, 'ModelInfer', request([1, 2, 3], { model_name: 'nobody' }))).code,
    key: (await call(plain, 'ModelInfer', request([1, 2, 3]), 'wrong')).code,
    together: (await Promise.all(many.slice(0, 50).map((_, i) => call(plain, 'ModelInfer', request([i, 0, 0], { id: `${i}` })))))
      .every((answer, i) => answer.id === `${i}`),
    stream: await stream([request([1, 2, 3], { id: 'a' }), { model_name: 'e' }, request([1, 2, 3], { id: 'b' })]),
  };
  console.log(JSON.stringify(answers));
  plain.close();
  packed.close();
}

main();
