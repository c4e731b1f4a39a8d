namespace sealane {}
