package peer;
import java.io.Serializable;
import java.util.*;
public class Order implements Serializable {
  private static final long serialVersionUID = 1L;
  private long id; private String owner; private Level level; private Date created; private boolean paid;
  private List<Item> items; private Map<String, String> tags; private Order parent;
  public long getId() { return id; } public void setId(long v) { id = v; }
  public String getOwner() { return owner; } public void setOwner(String v) { owner = v; }
  public Level getLevel() { return level; } public void setLevel(Level v) { level = v; }
  public Date getCreated() { return created; } public void setCreated(Date v) { created = v; }
  public boolean isPaid() { return paid; } public void setPaid(boolean v) { paid = v; }
  public List<Item> getItems() { return items; } public void setItems(List<Item> v) { items = v; }
  public Map<String, String> getTags() { return tags; } public void setTags(Map<String, String> v) { tags = v; }
  public Order getParent() { return parent; } public void setParent(Order v) { parent = v; }
  public static Order sample(boolean nested) {
    Order o = new Order(); o.id = 4294967297L; o.owner = "\u5f20\u4e09 \ud83d\ude80"; o.level = Level.HIGH;
    o.created = new Date(1573430400123L); o.paid = true;
    o.items = new ArrayList<>(Arrays.asList(new Item("A-1", 2, "19.99"), new Item("B-2", 300, "0.10")));
    o.tags = new LinkedHashMap<>(); o.tags.put("k1", "v1"); o.tags.put("empty", ""); o.tags.put("nul", null);
    if (nested) { o.parent = sample(false); o.parent.id = 7; o.parent.parent = null; }
    return o;
  }
}
