"""Lets a CUDA build of torchvision be imported beside a CPU build of torch; on PYTHONPATH, Python runs it at its start.

Such a torchvision cannot load its C++ library and then dies of "operator torchvision::nms does not exist". With the two
schemas that its Python part registers kernels for declared beforehand, that part (transforms, models) works.
"""

import importlib.abc
import sys


class TorchvisionSchemas(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            TorchvisionSchemas.library = torch.library.Library("torchvision", "FRAGMENT")  # they live as long as it
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, TorchvisionSchemas())
