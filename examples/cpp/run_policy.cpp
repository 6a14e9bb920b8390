// Runs a policy of `sb3-qflex export MODEL --format torchscript --out policy.pt`.
//
//     run_policy policy.pt OBS_DIM < observations.txt
//
// reads observations (OBS_DIM numbers each) and prints an action for each, in the Box of the environment.

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <iostream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: run_policy policy.pt OBS_DIM < observations.txt\n";
    return 2;
  }
  // The matrices of a policy are too small to be shared among threads.
  at::set_num_threads(1);
  c10::InferenceMode no_gradients;

  torch::jit::ExtraFilesMap extra{{"metadata.json", ""}};
  torch::jit::Module policy = torch::jit::load(argv[1], torch::kCPU, extra);
  std::cerr << extra["metadata.json"] << "\n";

  std::vector<float> obs(std::stoul(argv[2]));
  auto input = torch::from_blob(obs.data(), {1, static_cast<int64_t>(obs.size())});
  while (true) {
    for (float& value : obs) {
      if (!(std::cin >> value)) return 0;
    }
    at::Tensor action = policy.forward({input}).toTensor().contiguous();
    for (int64_t i = 0; i < action.size(1); ++i) {
      std::cout << (i ? " " : "") << action.data_ptr<float>()[i];
    }
    std::cout << "\n";
  }
}
