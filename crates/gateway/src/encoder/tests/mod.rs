mod asking;
mod opening;
mod texts;
