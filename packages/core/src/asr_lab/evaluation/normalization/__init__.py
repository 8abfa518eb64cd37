"""The rules that texts pass through before they are compared; `normalizers` names them."""
