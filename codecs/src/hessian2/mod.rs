//! Hessian2: the bounded reading of what routing needs.
