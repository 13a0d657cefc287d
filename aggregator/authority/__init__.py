"""The consortium's authority: certificates, its register, and who becomes a member."""
