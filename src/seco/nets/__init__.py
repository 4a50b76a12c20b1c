"""Networks: encoders (timm), projection heads, and the momentum-contrast engine that the methods share."""
