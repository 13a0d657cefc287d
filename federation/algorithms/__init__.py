"""How sites' updates become the next model: one small file per algorithm."""
