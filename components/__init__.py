"""The Kubeflow components: one file a step, typed artifacts in and out, a thin call into the domain."""
