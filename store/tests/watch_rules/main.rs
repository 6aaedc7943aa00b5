//! The hub's rules one by one, each as small as it can be shown.
mod behind;
mod live;
mod progress;
mod world;
