package peer;
import java.io.Serializable;
import java.math.BigDecimal;
public class Item implements Serializable {
  private static final long serialVersionUID = 1L;
  private String sku; private int qty; private BigDecimal price;
  public Item() {}
  public Item(String sku, int qty, String price) { this.sku = sku; this.qty = qty; this.price = new BigDecimal(price); }
  public String getSku() { return sku; } public void setSku(String v) { sku = v; }
  public int getQty() { return qty; } public void setQty(int v) { qty = v; }
  public BigDecimal getPrice() { return price; } public void setPrice(BigDecimal v) { price = v; }
}
